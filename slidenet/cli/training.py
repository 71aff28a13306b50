"""`slidenet train` and `slidenet crossval`: flags and YAML for the data, the model and the Trainer.

Built like LightningCLI: `--data.*` are the arguments of `BagDataModule`, `--model.*` those of
`SlideClassifier`, `--trainer.*` those of Lightning's Trainer, so everything Lightning can do
(precision, devices, strategy, loggers, callbacks) is a flag or a YAML key. What the data settles
(task, feature length, class weights) is handed to the model and is no flag. Both verbs read the
same YAML.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger

from slidenet.cli.flags import FlagParser, report
from slidenet.core.errors import ConfigError, MissingExtraError
from slidenet.core.provenance import Identity
from slidenet.data.datamodule import BagDataModule
from slidenet.data.unsplit_bags import UnsplitBags
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.pipelines.crossval import CrossvalReport, FoldSettings, crossval
from slidenet.pipelines.fitting.fit import SETTLED_BY_DATA, Keep, TrainingPlan
from slidenet.pipelines.train import BUNDLE_NAME, TrainReport, fit, predict_table, run_split
from slidenet.training import SlideClassifier

STEPS = ("fit", "validate", "test", "predict")
FIXED_TRAINER = {"default_root_dir", "enable_checkpointing", "use_distributed_sampler"}
"""What slidenet settles: the folder is --out, and the samplers of bags know about ranks."""

WITHOUT_EFFECT = {
    "accelerator", "devices", "num_nodes", "strategy", "logger", "enable_progress_bar",
    "enable_model_summary", "log_every_n_steps", "profiler", "enable_autolog_hparams",
    "model_registry", "callbacks",
}  # fmt: skip
"""Trainer settings left out of the identity of a run: where it runs and what it reports."""


@dataclass(frozen=True)
class RunSettings:
    """What belongs to a run as a whole.

    Args:
        out: Folder of the run.
        seed: Decides initial weights, order of bags and dropout.
        monitor: Logged value that chooses the best epoch; default: the task's usual one.
        patience: Epochs without improvement after which a fit stops; null: never.
        keep: Which epoch's weights are the model: the best by monitor, or the last.
        threshold_rule: How the cut-off of a binary task is chosen on the val split.
        calibrate: Fit a temperature on the val split.
        strict: Refuse a cohort the audit warns about.
    """

    out: Path
    seed: int = 0
    monitor: str | None = None
    patience: int | None = 20
    keep: Keep = "best"
    threshold_rule: ThresholdRule = "youden"
    calibrate: bool = False
    strict: bool = False


def train_command(arguments: Sequence[str]) -> int:
    """`slidenet train [fit|validate|test|predict] ...`; the exit code."""
    step, rest = "fit", list(arguments)
    if rest and not rest[0].startswith("-"):
        step = rest.pop(0)
    if step not in STEPS:
        print(
            f"slidenet train: error: unknown step {step!r}; one of {', '.join(STEPS)}",
            file=sys.stderr,
        )
        return 2
    parser = training_parser(f"slidenet train {step}", f"{_SUMMARIES[step]}.")
    if step != "fit":
        parser.add_argument(
            "--bundle",
            type=Path | None,
            default=None,
            help=f"the model; default: OUT/{BUNDLE_NAME}",
        )
    return _call("train", parser, rest, lambda config: _run_step(parser, config, step))


def crossval_command(arguments: Sequence[str]) -> int:
    """`slidenet crossval ...`; the exit code."""
    parser = training_parser("slidenet crossval", "Train and test one model per fold of patients.")
    parser.add_class_arguments(FoldSettings, "folds", fail_untyped=True)
    return _call("crossval", parser, arguments, lambda config: _run_crossval(parser, config))


def training_parser(prog: str, description: str) -> FlagParser:
    """Flags of the run, the data, the model and the Trainer."""
    parser = FlagParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file holding any of the flags")
    parser.add_class_arguments(RunSettings, None, fail_untyped=True)
    parser.add_class_arguments(BagDataModule, "data", fail_untyped=True, instantiate=False)
    parser.add_class_arguments(
        SlideClassifier, "model", skip=SETTLED_BY_DATA, fail_untyped=True, instantiate=False
    )
    parser.add_class_arguments(
        Trainer, "trainer", skip=FIXED_TRAINER, fail_untyped=False, instantiate=False
    )
    parser.set_defaults(
        {
            "trainer.max_epochs": 50,
            "trainer.enable_model_summary": False,
            "trainer.log_every_n_steps": 1,
        }
    )
    return parser


class MetricsFileOnly(Logger):
    """No logger beside `metrics.csv`, for callbacks (learning rate, device) that ask for one.

    What they log is among the values that `LearningCurve` writes.

    Args:
        folder: Of the fit; profilers write there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def name(self) -> None:
        """None."""

    @property
    def version(self) -> None:
        """None."""

    @property
    def save_dir(self) -> str:
        """The folder of the fit."""
        return str(self._folder)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Nothing."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def training_plan(parser: FlagParser, config: Namespace) -> TrainingPlan:
    """The plan that a parsed configuration describes."""

    def make_trainer(folder: Path, callbacks: Sequence[Callback]) -> Trainer:
        # Instantiated anew for every model: loggers and callbacks keep state.
        settings = _instantiated(parser, config, folder)
        given = settings.pop("callbacks") or []
        given = list(given) if isinstance(given, list | tuple) else [given]
        if settings["logger"] in (None, True):
            settings["logger"] = MetricsFileOnly(folder)
        if settings["enable_progress_bar"] is False or any(
            isinstance(c, ProgressBar) for c in given
        ):
            callbacks = [c for c in callbacks if not isinstance(c, ProgressBar)]
        with _plain_refusals():
            return Trainer(
                **settings,
                callbacks=[*callbacks, *given],
                default_root_dir=folder,
                use_distributed_sampler=False,
            )

    return TrainingPlan(
        model=config.model.as_dict(),
        make_trainer=make_trainer,
        trainer=trainer_identity(parser, config),
        seed=config.seed,
        monitor=config.monitor,
        patience=config.patience,
        keep=config.keep,
    )


@contextmanager
def _plain_refusals() -> Iterator[None]:
    """What Lightning says of settings it cannot work with, as an error for the user."""
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            f"Lightning cannot make a Trainer of the --trainer settings ({error})",
            remedy="change the setting it names",
        ) from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a --trainer setting needs a package that is not installed ({error})",
            remedy="install it, or leave the setting out",
        ) from error


def _instantiated(parser: FlagParser, config: Namespace, folder: Path) -> dict[str, Any]:
    """Trainer settings with loggers and callbacks made; loggers write into the folder."""
    config = config.clone()
    given = config.trainer.logger
    for logger in given if isinstance(given, list) else [given]:
        arguments = logger.get("init_args") if isinstance(logger, Namespace) else None
        if arguments is not None and arguments.get("save_dir") is not None:
            arguments.save_dir = str(folder / arguments.save_dir)
    with _plain_refusals():
        settings: dict[str, Any] = parser.instantiate(config).trainer.as_dict()
    return settings


def trainer_identity(parser: FlagParser, config: Namespace) -> Identity:
    """Trainer settings that change the numbers, where they differ from the defaults."""
    given, defaults = config.trainer.as_dict(), parser.get_defaults().trainer.as_dict()
    return {
        name: value if isinstance(value, int | float | str | bool | None) else str(value)
        for name, value in given.items()
        if name not in WITHOUT_EFFECT and (value != defaults[name] or name == "max_epochs")
    }


_SUMMARIES = {
    "fit": "Train a slide classifier and test it",
    "validate": "Run a trained model over the val split",
    "test": "Run a trained model over the test split",
    "predict": "Run a trained model over every bag of the table of labels",
}


def _run_step(parser: FlagParser, config: Namespace, step: str) -> TrainReport:
    data = BagDataModule(**config.data.as_dict())
    if step == "fit":
        return fit(
            data,
            training_plan(parser, config),
            config.out,
            threshold_rule=config.threshold_rule,
            calibrate=config.calibrate,
            strict=config.strict,
        )
    bundle = config.bundle or config.out / BUNDLE_NAME
    if step == "predict":
        return predict_table(data, bundle, config.out)
    split: Literal["val", "test"] = "val" if step == "validate" else "test"
    return run_split(data, bundle, split, config.out)


def _run_crossval(parser: FlagParser, config: Namespace) -> CrossvalReport:
    folds = FoldSettings(**{f.name: config.folds[f.name] for f in fields(FoldSettings)})
    return crossval(
        UnsplitBags(**config.data.as_dict()),
        training_plan(parser, config),
        config.out,
        folds,
        threshold_rule=config.threshold_rule,
        calibrate=config.calibrate,
        strict=config.strict,
    )


def _call(name: str, parser: FlagParser, arguments: Sequence[str], work: Any) -> int:
    config = parser.parse_args(arguments)
    return report(name, lambda: work(config))
