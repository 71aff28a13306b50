"""`slidenet crossval`: every bag predicted by a model that has not seen its patient.

A folder of a cross-validation holds `crossval.json` (its identity), `splits.csv`, one folder
`fold_00`, `fold_01` ... per fold and, at the end, `predictions.csv` (out-of-fold). A fold is done
when its `fold.json` is there; a killed run goes on at the first that is not. Any number of
processes may run the same cross-validation: each takes folds that nobody trains.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.escapes import in_terminal
from slidenet.core.extras import data_frame
from slidenet.core.provenance import Identity, canonical_json, identity_hash
from slidenet.core.text import text_table
from slidenet.core.window_rule import RULE
from slidenet.data import write_splits
from slidenet.data.datamodule import BagDataModule, read_bags
from slidenet.data.settings import DataSettings
from slidenet.data.splits.record import SPLIT_NAMES, Split
from slidenet.evaluation import Origin, Predictions, check_origin, join_predictions
from slidenet.evaluation.predictions.record import ONE_PATIENT_PER_FOLD
from slidenet.evaluation.predictions.targets import prediction_files
from slidenet.pipelines.applying.ensembles import CROSSVAL_NAME, ENSEMBLE_NAME, make_ensemble
from slidenet.pipelines.cohort.report import EX_TEMPFAIL
from slidenet.pipelines.fitting.claim import (
    PLAN_NAME,
    claim_folder,
    undone_if_refused,
)
from slidenet.pipelines.fitting.fit import audit_data
from slidenet.pipelines.fitting.folds import (
    FOLD_NAME,
    PREDICTIONS_NAME,
    VERB,
    FoldSettings,
    FoldWork,
    make_splits,
    read_fold,
)
from slidenet.pipelines.fitting.plan import (
    TrainingPlan,
    TrainSettings,
    read_arguments,
)
from slidenet.pipelines.fitting.predictions import data_digest
from slidenet.pipelines.fitting.search import candidates_of, check_candidates
from slidenet.pipelines.fitting.spread import run_folds
from slidenet.pipelines.fleet.settings import HERE, ClusterSettings
from slidenet.pipelines.probing.beside_network import probe_sections
from slidenet.pipelines.results.ablation import fold_section, variants_of
from slidenet.pipelines.results.cohort_report import (
    cohort_section,
    words_of_unseen,
    write_left_out,
    write_objects,
)
from slidenet.pipelines.results.learning import Learning, flat_targets, learning_section
from slidenet.pipelines.results.sections import Section, write_results
from slidenet.stores import check_output_folder
from slidenet.tasks import task_of
from slidenet.training.ranks import is_first

if TYPE_CHECKING:
    import pandas

IDENTITY_NAME, SPLITS_NAME = CROSSVAL_NAME, "splits.csv"
MOST_FOLDS_SHOWN = 10
MOST_MEMBERS = 25
"""Of more folds no ensemble is written unasked: every prediction would run as many networks."""


@dataclass(frozen=True)
class CrossvalReport:
    """What a cross-validation ended with.

    Attributes:
        headline: One line.
        folds: Per fold, the metrics of its test split.
        files: What was written.
        pooled: Metrics of the out-of-fold predictions of all folds together; empty until all are
            done, and where bags are predicted in several folds.
        sections: What else there is to report.
        one_patient_per_fold: Whether every fold tests one patient only.
        exit_code: 0; 75 where other processes still train folds (a failure raises).
    """

    headline: str
    folds: Mapping[int, Mapping[str, float]]
    files: Sequence[Path]
    pooled: Mapping[str, float] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    one_patient_per_fold: bool = False
    exit_code: int = 0

    def metrics(self) -> Section:
        """Metrics by fold, their mean and standard deviation, and those of all folds together.

        Where a fold tests one patient, its metrics say nothing (an average precision of 1 where the
        bag is positive), and neither does their mean.
        """
        if self.one_patient_per_fold and self.pooled:
            together = tuple((name, f"{value:.3f}") for name, value in self.pooled.items())
            return Section("Metrics", (ONE_PATIENT_PER_FOLD,), ("metric", "all folds"), together)
        few = len(self.folds) <= MOST_FOLDS_SHOWN
        rows: list[tuple[str, ...]] = []
        lacking = False
        for name in dict.fromkeys(name for values in self.folds.values() for name in values):
            values = [fold.get(name, float("nan")) for fold in self.folds.values()]
            defined = [value for value in values if not np.isnan(value)]
            lacking |= len(defined) < len(values)
            mean = f"{np.mean(defined):.3f}" if defined else "-"
            spread = f" ({np.std(defined, ddof=1):.3f})" if len(defined) > 1 else ""
            shown = [f"{value:.3f}" for value in values] if few else []
            pooled = [f"{self.pooled[name]:.3f}"] if name in self.pooled else []
            rows.append((name, *shown, mean + spread, *pooled))
        last = "mean (sd)" if len(self.folds) > 1 else "mean"
        header = [f"{f'fold {number}':>8}" for number in self.folds] if few else []
        lines = ["Means are over the folds in which the metric is defined."] if lacking else []
        pooled = ["pooled"] if self.pooled else []
        return Section(
            "Metrics by fold", tuple(lines), ("metric", *header, last, *pooled), tuple(rows)
        )

    def table(self) -> str:
        """The metrics, what else there is to report, and where everything lies."""
        metrics = self.metrics()
        right = range(1, len(metrics.header))
        lines = [text_table(metrics.header, metrics.rows, right=right, rule=False), *metrics.lines]
        lines += [
            line for section in self.sections if (text := section.text()) for line in ("", text)
        ]
        lines += ["", self.headline, *(f"wrote {path}" for path in self.files)]
        return "\n".join(lines)

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per fold, one column per metric.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([{"fold": number, **values} for number, values in self.folds.items()])


def crossval(
    out: str | Path,
    settings: TrainSettings | None = None,
    folds: FoldSettings | Mapping[str, Any] | None = None,
    *,
    data: DataSettings | Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    cluster: ClusterSettings = HERE,
    **keywords: Any,
) -> CrossvalReport:
    """Patient-grouped, label-stratified cross-validation with out-of-fold predictions.

    Args:
        out: Folder of the cross-validation.
        settings: What belongs to the run as a whole; fold i trains with its seed plus i.
        folds: How the cohort is cut, and what is chosen inside each fold; or fields of
            `FoldSettings`.
        data: The bags; or fields of `DataSettings`. `splits` are the folds, where given.
        model: Arguments of `SlideClassifier`: network, network_settings, learning_rate, ...
        trainer: Arguments of Lightning's Trainer: max_epochs, accelerator, precision, ...
        cluster: On which machines folds, and candidates of a search inside them, are trained.
        **keywords: Any of the settings above by name, as none has the name of another.

    Raises:
        SplitError: Folds that leak, lack a class or cannot be made.
        ConfigError, UnknownNameError: Settings that do not fit; raised before anything is written.
        AuditError: When strict, and the audit found an error or a warning.
        IdentityMismatchError: The folder holds a cross-validation of other settings or data.
    """
    wanted, plan, cut = read_arguments(
        settings,
        keywords,
        data=data,
        model=model,
        trainer=trainer,
        folds=folds,
        folds_type=FoldSettings,
    )
    assert cut is not None, "a cross-validation has folds"
    ranks = plan.trainer.meet_ranks(Path(out), may_share=False)
    if cluster.runner == "ray":  # what devices this machine has does not matter
        plan.trainer.check_one_device()
        ranks = 1
    plan, settings = plan.as_begun(Path(out) / IDENTITY_NAME), plan.settings
    bags = plan.batches_as_begun(read_bags(replace(wanted, splits=None), unsplit=True))
    splits = make_splits(bags, cut, wanted.splits, seed=settings.seed)
    chosen = _check_folds(bags, cut, len(splits))
    candidates = candidates_of(cut.search)
    whole = bags.with_split(splits[0])
    check_candidates(whole, plan, Path(out), candidates)
    out = Path(out)
    identity: Identity = {
        "plan": plan.identity(whole, {}),
        "folds": [[list(split.slides(name)) for name in SPLIT_NAMES] for split in splits],
        "search": candidates,
        "num_inner_folds": cut.num_inner_folds if len(candidates) > 1 else None,
        "threshold_rule": settings.threshold_rule,
        "calibrate": settings.calibrate,
        **_rule_of_candidates(plan, candidates),
    }
    origin = Origin(VERB, identity_hash(identity), data=data_digest(bags))
    begun = (out / IDENTITY_NAME).is_file()
    if begun:  # another run is refused by its settings, before its files are looked at
        claim_folder(out, identity, IDENTITY_NAME)
    for file in prediction_files(out / PREDICTIONS_NAME, bags.task_record).values():
        check_origin(file, origin, of_run=begun)
    if ranks > 1 and settings.ablation:
        # The other ranks of a fold wait for the next one, and do not know what was chosen in it.
        if variants_of(bags):
            words = "what each input adds is left out on several devices"
            print(in_terminal(words), file=sys.stderr)
        plan = replace(plan, settings=replace(settings, ablation=False))
    work = FoldWork(bags, plan, cut, candidates)
    folders = [out / f"fold_{number:02d}" for number in range(len(splits))]
    with undone_if_refused(out, IDENTITY_NAME, SPLITS_NAME, f"fold_*/**/{PLAN_NAME}"):
        check_output_folder(out)
        if is_first():
            claim_folder(out, identity, IDENTITY_NAME)
        audit_data(whole, splits, strict=settings.strict)
        if is_first():
            write_splits(out / SPLITS_NAME, splits)
        held = run_folds(work, chosen, splits, folders, cluster)
    if not is_first():
        return CrossvalReport("rank 0 writes the results", {}, [])
    by_site = wanted.splits is None and cut.leave_one_out != "patient"
    sites = cut.site_column if by_site else None
    report = _report(bags, plan, out, folders, splits, origin, sites)
    held = [number for number in held if number not in report.folds]
    if not held:
        return report
    others = f"in progress elsewhere: fold {', '.join(map(str, held))}; run again when it has ended"
    return replace(report, headline=f"{report.headline}; {others}", exit_code=EX_TEMPFAIL)


def _rule_of_candidates(plan: TrainingPlan, candidates: Sequence[Mapping[str, Any]]) -> Identity:
    """What windows count, where only a candidate of the search has an attention with windows."""
    models = [canonical_json(plan.model_settings(candidate)) for candidate in ({}, *candidates)]
    concerned = RULE not in models[0] and any(RULE in model for model in models[1:])
    return {RULE: plan.window_rule} if concerned and plan.window_rule == "keys" else {}


def _check_folds(data: BagDataModule, settings: FoldSettings, count: int) -> list[int]:
    """The folds to run, once everything about them is in order."""
    chosen = list(range(count)) if settings.only_folds is None else list(settings.only_folds)
    wrong = [number for number in chosen if not 0 <= number < count]
    if wrong:
        raise ConfigError(f"only_folds {wrong}", expected=f"folds 0 to {count - 1}")
    if data.task_record.has_time_bins and not data.settings.time_edges:
        edges = ", ".join(f"{edge:g}" for edge in data.task_record.time_edges)
        raise ConfigError(
            "every fold would choose time bins of its own",
            expected="the same bins in all folds, so that their curves can be joined",
            remedy=f"give --data.time-edges, such as [{edges}]",
        )
    if settings.site_column is not None and settings.site_column in data.settings.covariates:
        raise ConfigError(
            f"{settings.site_column!r} is the site column and a covariate: no fold trains on the "
            "sites that it is tested on",
            expected="one or the other",
            remedy="leave it away from --data.covariates",
        )
    if settings.search:
        check_whole(least=2, num_inner_folds=settings.num_inner_folds)
    return chosen


def _report(
    data: BagDataModule,
    plan: TrainingPlan,
    out: Path,
    folders: Sequence[Path],
    splits: Sequence[Split],
    origin: Origin,
    site_column: str | None,
) -> CrossvalReport:
    """What is done so far; with all folds done, also the file of out-of-fold predictions."""
    network = plan.model["network"]
    done = {
        number: read_fold(folder, "metrics")["metrics"]
        for number, folder in enumerate(folders)
        if (folder / FOLD_NAME).is_file()
    }
    if len(done) < len(folders):
        headline = f"{network}: {len(done)} of {len(folders)} folds are done"
        return CrossvalReport(headline, done, [out])
    files = prediction_files(out / PREDICTIONS_NAME, data.task_record)
    parts = [prediction_files(f / PREDICTIONS_NAME, data.task_record) for f in folders]
    found = {
        target: join_predictions(
            file,
            [part[target] for part in parts],
            task=task_of(data.task_record, target),
            origin=origin,
        )
        for target, file in files.items()
    }
    headline = f"{network}: {words_of_unseen(data, list(found.values()))}"
    cohort = cohort_section(data, splits, site_column=site_column)
    sections = [cohort, *_learning_of_folds(folders, found)]
    if plan.settings.ablation:
        sections += fold_section(data, splits, out, found, seed=plan.settings.seed)
    sections += probe_sections(data, splits, folders, found, plan)
    pooled: dict[str, float] = {}
    for target, one in found.items():
        if one.num_bags == len(one):
            prefix = f"{target}_" if target else ""
            pooled |= {f"{prefix}{name}": value for name, value in one.compute_metrics().items()}
    written = list(files.values())
    if 1 < len(folders) <= MOST_MEMBERS:
        written.append(out / ENSEMBLE_NAME)
        sections.append(make_ensemble([out], written[-1], allow_code=True)[1])  # this run wrote it
    alone = all(one.one_patient_per_fold for one in found.values())
    report = CrossvalReport(headline, done, written, pooled, sections, alone)
    results = write_results(out, "crossval", headline, [report.metrics(), *sections])
    return replace(
        report, files=[*written, results, *write_left_out(out, data), *write_objects(out, data)]
    )


def _learning_of_folds(folders: Sequence[Path], found: Mapping[str, Predictions]) -> list[Section]:
    """Which epochs the folds kept; nothing of folds that an older version has trained."""
    fits, flat = {}, {}
    for number, folder in enumerate(folders):
        learning = read_fold(folder).get("learning")
        if learning is None:
            continue
        name = f"fold {number}"
        fits[name] = Learning.of_file(learning, folder / FOLD_NAME)
        of_fold = {
            target: one.take(np.asarray(one.folds == number)) for target, one in found.items()
        }
        flat[name] = flat_targets(of_fold)
    return [learning_section(fits, flat)] if fits else []
