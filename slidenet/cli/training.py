"""`slidenet train`, `crossval` and `audit`: flags and YAML for the data, the model and the Trainer.

Built like LightningCLI: `--data.*` are the fields of `DataSettings`, `--model.*` the arguments of
`SlideClassifier`, `--trainer.*` those of Lightning's Trainer, so everything Lightning can do
(precision, devices, strategy, loggers, callbacks) is a flag or a YAML key. What follows from the
data (task, feature length, class weights) is no flag. All three read the same YAML, whose content
is what the functions take in Python.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from jsonargparse import Namespace

from slidenet.auditing import AuditSettings
from slidenet.cli.flags import FlagParser, build_parser, parse_arguments
from slidenet.cli.result import report
from slidenet.data.settings import DataSettings
from slidenet.pipelines.audit import audit
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting.arguments import parameters
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME
from slidenet.pipelines.fitting.folds import FoldSettings
from slidenet.pipelines.fitting.loggers import LoggedTrainer
from slidenet.pipelines.fitting.plan import DERIVED_FROM_DATA, TrainSettings
from slidenet.pipelines.fitting.trainer import FIXED_TRAINER, TRAINER_DEFAULTS
from slidenet.pipelines.fleet.settings import ClusterSettings
from slidenet.pipelines.train import Step, train
from slidenet.training import SlideClassifier

SUMMARIES: dict[str, str] = {
    "fit": "Train a slide classifier and test it",
    "validate": "Run a trained model over val",
    "test": "Run a trained model over test",
    "predict": "Run a trained model over every bag of the table of labels",
}
OF_CLUSTER = [f.name for f in fields(ClusterSettings)]
RENAMED = {"data.split_file": "data.splits", "folds.splits": "data.splits"}


def train_command(arguments: Sequence[str]) -> int:
    """`slidenet train [fit|validate|test|predict] ...`; the exit code."""
    step, rest = "fit", list(arguments)
    if rest and not rest[0].startswith("-"):
        step = rest.pop(0)
    if step not in get_args(Step):
        print(
            f"slidenet train: error: unknown step {step!r}; one of {', '.join(get_args(Step))}",
            file=sys.stderr,
        )
        return 2
    parser = training_parser(f"slidenet train {step}", f"{SUMMARIES[step]}.")
    if step != "fit":
        parser.add_argument(
            "--bundle",
            type=Path | None,
            default=None,
            help=f"the model; default: OUT/{BUNDLE_NAME}",
        )
        parser.add_argument(
            "--allow_code",
            type=bool,
            default=False,
            help="let the model name classes outside slidenet; importing them runs their code",
        )
    for key in ("folds", *OF_CLUSTER):  # of crossval's YAML
        parser.add_argument(f"--{key}", type=Any, help=argparse.SUPPRESS)
    config = parser.parse_args(rest)
    more = {"step": step, "bundle": config.get("bundle")}
    more["allow_code"] = config.get("allow_code", False)
    return report("train", lambda: train(**call_of(config), **more))


def crossval_command(arguments: Sequence[str]) -> int:
    """`slidenet crossval ...`; the exit code."""
    parser = training_parser(
        "slidenet crossval", "Train and test a model on each fold of patients."
    )
    parser.add_class_arguments(FoldSettings, "folds", fail_untyped=True)
    parser.add_class_arguments(ClusterSettings, None, fail_untyped=True)
    config = parser.parse_args(arguments)
    folds = FoldSettings(**{f.name: config.folds[f.name] for f in fields(FoldSettings)})
    cluster = ClusterSettings(**{name: config[name] for name in OF_CLUSTER})
    return report("crossval", lambda: crossval(**call_of(config), folds=folds, cluster=cluster))


def audit_command(arguments: Sequence[str]) -> int:
    """`slidenet audit ...`; the exit code. It takes the YAML of a training as well."""
    data = parameters(DataSettings)
    known = {*inspect.signature(audit).parameters, *(f.name for f in fields(AuditSettings))}
    groups = dict.fromkeys(known & data, "data")
    run = {f.name for f in fields(TrainSettings)} - known
    parser = build_parser(
        "audit",
        audit,
        groups=groups,
        ignored=[
            *run,
            *(f"data.{name}" for name in data - set(groups)),
            "model",
            "trainer",
            "folds",
            *OF_CLUSTER,
        ],
        renamed={name: f"data.{name}" for name in groups},
    )
    call = parse_arguments(parser, audit, arguments, groups=groups)
    return report("audit", lambda: audit(**call))


def training_parser(prog: str, description: str) -> FlagParser:
    """Flags of the run, the data, the model and the Trainer."""
    parser = FlagParser(prog=prog, description=description, allow_abbrev=False)
    parser.renamed = RENAMED
    parser.add_argument("--config", action="config", help="YAML file holding any of the flags")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the run.")
    parser.add_class_arguments(TrainSettings, None, fail_untyped=True)
    parser.add_class_arguments(DataSettings, "data", fail_untyped=True, instantiate=False)
    parser.add_class_arguments(
        SlideClassifier, "model", skip=DERIVED_FROM_DATA, fail_untyped=True, instantiate=False
    )
    parser.add_class_arguments(
        LoggedTrainer, "trainer", skip=set(FIXED_TRAINER), fail_untyped=False, instantiate=False
    )
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    return parser


def call_of(config: Namespace) -> dict[str, Any]:
    """The arguments of `train` and `crossval` that a parsed configuration describes."""
    return {
        "out": config.out,
        "settings": TrainSettings(**{f.name: config[f.name] for f in fields(TrainSettings)}),
        "data": config.data.as_dict(),
        "model": config.model.as_dict(),
        "trainer": config.trainer.as_dict(),
    }
