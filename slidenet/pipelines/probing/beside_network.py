"""The floor beside a network: probes on the same folds, and whether the network beats them.

Each fold's probes are kept in its folder as `probes.json`, so that a killed run goes on.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slidenet.core.errors import LabelError, StoreError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.data import Split
from slidenet.data.bags.dataset import BagSource
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SplitName
from slidenet.evaluation import Predictions, best_probe
from slidenet.evaluation.probes.probe import KINDS, LINEAR_DEFAULT, WORDS
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.probing.as_network import (
    MOST_BAGS,
    PROBE,
    PROBE_NAME,
    fit_on,
    spread,
)
from slidenet.pipelines.probing.bag_statistics import BagStatistics, read_statistics
from slidenet.pipelines.results.beside import Rival, compare
from slidenet.pipelines.results.sections import Section
from slidenet.stores.atomic import write_json
from slidenet.stores.json_file import read_json
from slidenet.tasks import MultiTask, Targets, Task

PROBES_NAME = "probes.json"
VERSION = 3
"""Of what the probes are; a new one fits them again."""
TITLE = "Beside the network: probes"


@dataclass(frozen=True, eq=False)
class FoldProbes:
    """What the probes of one fold predict.

    Attributes:
        logits: Of the test bags (N, K), by kind.
        words: What was chosen of each kind.
        best: The kind with the least error inside the fold.
        missing: Why there are none; empty where there are.
    """

    logits: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    best: str = ""
    missing: str = ""


@dataclass(frozen=True, eq=False)
class OneTarget:
    """One target of some bags, those that have it.

    Attributes:
        name: Of the target; "" where there is one only.
        task: Of the target.
        bags: The bags.
        targets: Of the bags.
    """

    name: str
    task: Task
    bags: Sequence[BagSource]
    targets: Targets


@dataclass(frozen=True, eq=False)
class ProbeWork:
    """Fits the probes of folds.

    Attributes:
        data: The bags.
        seed: Of the run; deals patients into inner folds.
    """

    data: BagDataModule
    seed: int

    @cached_property
    def statistics(self) -> BagStatistics:
        """Of every bag that is needed; read once, and only if a fold is not done."""
        return read_statistics(self.data, self.data.bags())

    def run(self, split: Split, folder: Path, *, number: int = 0) -> dict[str, FoldProbes]:
        """The probes of each target of a fold, fitted on its train and val or read from its file.

        Args:
            split: Of the fold.
            folder: Of the fold.
            number: Of the fold, which is added to the seed as it is where a fold is trained.

        Returns:
            By the name of the target; "" where there is one only.
        """
        data, seed = self.data.with_split(split), self.seed + number
        content: Identity = {"data": data.identity(), "seed": seed, "version": VERSION}
        identity, path = identity_hash(content), folder / PROBES_NAME
        tested = targets_of(data, "test")
        found = _read(path, identity, {one.name: len(one.bags) for one in tested})
        if found is None:
            fitted_on = targets_of(data, "train", "val")
            pairs = zip(fitted_on, tested, strict=True)
            found = {one.name: self._fit(data, one, test, seed=seed) for one, test in pairs}
            probes = {name: vars(one) for name, one in found.items()}
            write_json(path, {"identity": identity, "probes": probes}, sort_keys=True)
        return found

    def _fit(
        self, data: BagDataModule, fitted: OneTarget, tested: OneTarget, *, seed: int
    ) -> FoldProbes:
        bags, targets = spread(fitted.bags, fitted.targets)
        try:
            probes = fit_on(fitted.task, self.statistics, bags, targets, data, seed=seed)
        except LabelError as error:
            return FoldProbes(missing=error.found)
        names = [bag.bag_id for bag in tested.bags]
        logits: dict[str, Any] = {}
        for kind, probe in probes.items():
            rows = torch.from_numpy(self.statistics.of(names, probe.columns))
            with torch.inference_mode():
                logits[kind] = probe.model.logits(rows).tolist()
        words: dict[str, str] = {kind: probe.words for kind, probe in probes.items()}
        return FoldProbes(logits, words, best_probe(probes).kind)


def probe_sections(
    data: BagDataModule,
    splits: Sequence[Split],
    folders: Sequence[Path],
    models: Mapping[str, Predictions],
    plan: TrainingPlan,
) -> list[Section]:
    """What the report of a run says of probes: beside its network, or as its network.

    Args:
        data: The bags.
        splits: Of the folds; one where the model was trained once.
        folders: Of the folds.
        models: What the network predicts of their test bags, of each target
            (`split_predictions`); empty where there are none.
        plan: Of the run.
    """
    name, settings = str(plan.model["network"]), plan.settings
    if name == PROBE:
        most = max(len(data.with_split(split).bags("train")) for split in splits)
        return [chosen_section(folders, limits_of(most, data.task_record))]
    if not settings.probes or not models:
        return []
    work = ProbeWork(data, settings.seed)
    folds = [
        work.run(split, folder, number=number)
        for number, (split, folder) in enumerate(zip(splits, folders, strict=True))
    ]
    return [
        _section(data, splits, [fold[target] for fold in folds], target, found, name)
        for target, found in models.items()
    ]


def _section(
    data: BagDataModule,
    splits: Sequence[Split],
    folds: Sequence[FoldProbes],
    target: str,
    model: Predictions,
    name: str,
) -> Section:
    """The probes of one target beside the network."""
    title = TITLE + (f" of {target}" if target else "")
    lacking = {number: fold.missing for number, fold in enumerate(folds) if fold.missing}
    if lacking:
        number, reason = next(iter(lacking.items()))
        where = f" in fold {number}" if len(folds) > 1 else ""
        return Section(title, (f"There are none: {reason}{where}.",))
    kinds = [kind for kind in KINDS[model.task.output] if all(kind in f.logits for f in folds)]
    numbered = model.folds is not None
    parts = [data.with_split(split) for split in splits]
    tested = [_target_of(part, target, "test") for part in parts]
    most = max(len(_target_of(part, target, "train", "val").bags) for part in parts)

    def predictions(chosen: Sequence[str]) -> Predictions:
        return Predictions.concatenate(
            _predictions(data, one, fold.logits[kind], number if numbered else None)
            for number, (one, fold, kind) in enumerate(zip(tested, folds, chosen, strict=True))
        )

    rivals = []
    if len(kinds) > 1:
        best = predictions([fold.best for fold in folds])
        rivals.append(Rival("chosen probe", "the chosen probe", best))
    for kind in kinds:
        words = f"{WORDS[kind]} probe"
        rivals.append(Rival(words, f"the {words}", predictions([kind] * len(folds))))
    counts = Counter(fold.words[fold.best] for fold in folds)
    chosen = ", ".join(f"{w} ({n} of {len(folds)} folds)" for w, n in counts.most_common())
    notes = [
        *limits_of(most, model.task),
        f"Chosen inside the training part: {chosen if len(folds) > 1 else next(iter(counts))}.",
        "Probes see the mean and the standard deviation of the features of each bag. "
        "They are fitted on train and val; --model.network probe makes one the model.",
    ]
    if data.cohort.covariates is not None or data.cohort.others:
        notes.append("They see neither covariates nor further feature sets.")
    return compare(model, rivals, name=name, title=title, notes=notes)


def chosen_section(folders: Sequence[Path], lines: Sequence[str] = ()) -> Section:
    """What was chosen where a probe is the model.

    Args:
        folders: Of the folds.
        lines: What else to say.
    """
    remedy = "delete the folder to fit the probe anew"
    found = Counter(
        str(read_json(folder / PROBE_NAME, remedy=remedy, needs=("chosen",))["chosen"])
        for folder in folders
    )
    rows = tuple((words, str(count)) for words, count in found.most_common())
    return Section("Probes chosen", tuple(lines), ("probe", "folds"), rows)


def limits_of(num_bags: int, task: Task) -> list[str]:
    """What is left out where there are many bags to fit on.

    Args:
        num_bags: Of train and val.
        task: What is predicted.
    """
    lines = []
    keeping = [WORDS[kind] for kind in KINDS[task.output][1:]]
    if num_bags > LINEAR_DEFAULT and keeping:
        lines.append(
            f"Not tried: the {' and '.join(keeping)} probe, which keeps every bag, as there are "
            f"{num_bags:,} to fit on (more than {LINEAR_DEFAULT:,})."
        )
    if num_bags > MOST_BAGS:
        lines.append(
            f"Fitted on {MOST_BAGS:,} of the {num_bags:,} bags, evenly spread over the table."
        )
    return lines


def _target_of(data: BagDataModule, name: str, *splits: SplitName) -> OneTarget:
    return next(one for one in targets_of(data, *splits) if one.name == name)


def targets_of(data: BagDataModule, *splits: SplitName) -> list[OneTarget]:
    """What is predicted of the bags of some splits in table order, each target of several apart."""
    found_bags = [bag for split in splits for bag in data.bags(split)]
    parts = [data.targets(split) for split in splits if data.split.slides(split)]
    # Inner folds are dealt by this order: as `fit_network` deals them, so that both are one probe.
    place = {bag.bag_id: row for row, bag in enumerate(data.bags())}
    order = np.argsort([place[bag.bag_id] for bag in found_bags])
    bags = [found_bags[int(i)] for i in order]
    targets, task = np.concatenate(parts)[order], data.task_record
    if not isinstance(task, MultiTask):
        return [OneTarget("", task, bags, targets)]
    found = []
    for part in task.parts:
        known = part.known(targets)
        chosen = [bag for bag, has in zip(bags, known, strict=True) if has]
        found.append(OneTarget(part.name, part.task, chosen, part.own(targets[known])))
    return found


def _predictions(
    data: BagDataModule, tested: OneTarget, logits: Sequence[Sequence[float]], fold: int | None
) -> Predictions:
    bags = tested.bags
    return Predictions(
        tested.task,
        tuple(bag.bag_id for bag in bags),
        tuple(data.label_table.row(bag.slide_ids[0]).patient_id for bag in bags),
        tested.targets,
        tested.task.predict(torch.tensor(logits, dtype=torch.float64)),
        None if fold is None else np.full(len(bags), fold, np.int64),
    )


def _read(path: Path, identity: str, counts: Mapping[str, int]) -> dict[str, FoldProbes] | None:
    """What a file holds; None where it is absent, damaged, or of other settings.

    Args:
        path: The file.
        identity: Of the fold and its settings.
        counts: Test bags of each target.
    """
    if not path.is_file():
        return None
    try:
        content = read_json(path, remedy="delete it", needs=("identity", "probes"))
        if content["identity"] != identity:
            return None
        found = {name: FoldProbes(**one) for name, one in content["probes"].items()}
        whole = found.keys() == counts.keys() and all(
            (bool(one.missing) and isinstance(one.missing, str)) or _is_whole(one, counts[name])
            for name, one in found.items()
        )
    except (StoreError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return found if whole else None


def _is_whole(probes: FoldProbes, num_bags: int) -> bool:
    """Whether every kind has finite logits of every bag."""
    arrays = [np.asarray(rows, dtype=np.float64) for rows in probes.logits.values()]
    shaped = all(a.shape[:1] == (num_bags,) and np.isfinite(a).all() for a in arrays)
    words = [*probes.words.values(), probes.missing]
    return (
        shaped
        and all(isinstance(word, str) for word in words)
        and probes.best in probes.logits
        and probes.words.keys() == probes.logits.keys()
    )
