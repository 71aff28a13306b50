"""The floor beside a network: probes on the same folds, and whether the network beats them.

Each fold's probes are kept in its folder as `probes.json`, so that a killed run goes on.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slidenet.core.errors import LabelError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.data import Split
from slidenet.data.datamodule import BagDataModule
from slidenet.evaluation import Predictions, best_probe
from slidenet.evaluation.probes.probe import KINDS, WORDS
from slidenet.pipelines.fitting.beside import Rival, compare
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.results import Section
from slidenet.pipelines.probing.as_network import PROBE, PROBE_NAME, fit_on, spread
from slidenet.pipelines.probing.bag_statistics import BagStatistics, read_statistics
from slidenet.stores.atomic import write_json

PROBES_NAME = "probes.json"
VERSION = 1
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

    def run(self, split: Split, folder: Path) -> FoldProbes:
        """The probes of a fold: fitted on its train and val, or as its file holds them."""
        data = self.data.with_split(split)
        content: Identity = {"data": data.identity(), "seed": self.seed, "version": VERSION}
        identity, path = identity_hash(content), folder / PROBES_NAME
        num_bags = len(data.bags("test"))
        found = _read(path, identity, num_bags)
        if found is None:
            found = self._fit(data)
            write_json(path, {"identity": identity, **vars(found)}, sort_keys=True)
        return found

    def _fit(self, data: BagDataModule) -> FoldProbes:
        task = data.task_record
        bags = [*data.bags("train"), *data.bags("val")]
        parts = [data.targets(name) for name in ("train", "val") if data.split.slides(name)]
        try:
            probes = fit_on(
                task, self.statistics, *spread(bags, np.concatenate(parts)), data, seed=self.seed
            )
        except LabelError as error:
            return FoldProbes(missing=error.found)
        names = [bag.bag_id for bag in data.bags("test")]
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
    model: Predictions | None,
    plan: TrainingPlan,
) -> list[Section]:
    """What the report of a run says of probes: beside its network, or as its network.

    Args:
        data: The bags.
        splits: Of the folds; one where the model was trained once.
        folders: Of the folds.
        model: What the network predicts of their test bags; None where there are none.
        plan: Of the run.
    """
    name, settings = str(plan.model["network"]), plan.settings
    if name == PROBE:
        return [chosen_section(folders)]
    if not settings.probes or model is None:
        return []
    return [probes_section(data, splits, folders, model, name=name, seed=settings.seed)]


def probes_section(
    data: BagDataModule,
    splits: Sequence[Split],
    folders: Sequence[Path],
    model: Predictions,
    *,
    name: str,
    seed: int,
) -> Section:
    """Probes beside a network on the test bags of its folds, fitted where they are not yet.

    Args:
        data: The bags.
        splits: Of the folds; one where the model was trained once.
        folders: Of the folds.
        model: What the network predicts of their test bags.
        name: Of the network.
        seed: Of the run.
    """
    work = ProbeWork(data, seed)
    folds = [work.run(split, folder) for split, folder in zip(splits, folders, strict=True)]
    lacking = {number: fold.missing for number, fold in enumerate(folds) if fold.missing}
    if lacking:
        number, reason = next(iter(lacking.items()))
        where = f" in fold {number}" if len(folds) > 1 else ""
        return Section(TITLE, (f"There are none: {reason}{where}.",))
    kinds = [kind for kind in KINDS[model.task.output] if all(kind in f.logits for f in folds)]

    def predictions(chosen: Sequence[str]) -> Predictions:
        return Predictions.concatenate(
            _predictions(data.with_split(split), fold.logits[kind], number if numbered else None)
            for number, (split, fold, kind) in enumerate(zip(splits, folds, chosen, strict=True))
        )

    numbered = model.folds is not None
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
        f"Chosen inside the training part: {chosen if len(folds) > 1 else next(iter(counts))}.",
        "Probes see the mean and the standard deviation of the features of each bag, and are "
        "fitted on train and val; --model.network probe makes one the model.",
    ]
    if data.cohort.covariates is not None or data.cohort.others:
        notes.append("They see neither covariates nor further feature sets.")
    return compare(model, rivals, name=name, title=TITLE, notes=notes)


def chosen_section(folders: Sequence[Path]) -> Section:
    """What was chosen where a probe is the model."""
    found = Counter(json.loads((folder / PROBE_NAME).read_text())["chosen"] for folder in folders)
    rows = tuple((words, str(count)) for words, count in found.most_common())
    return Section("Probes chosen", (), ("probe", "folds"), rows)


def _predictions(
    data: BagDataModule, logits: Sequence[Sequence[float]], fold: int | None
) -> Predictions:
    bags, task = data.bags("test"), data.task_record
    return Predictions(
        task,
        tuple(bag.bag_id for bag in bags),
        tuple(data.label_table.row(bag.slide_ids[0]).patient_id for bag in bags),
        data.targets("test"),
        task.predict(torch.tensor(logits, dtype=torch.float64)),
        None if fold is None else np.full(len(bags), fold, np.int64),
    )


def _read(path: Path, identity: str, num_bags: int) -> FoldProbes | None:
    """What a file holds; None where it is absent, damaged, or of other settings."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content.pop("identity") != identity:
            return None
        found = FoldProbes(**content)
        shapes = {np.shape(np.asarray(rows, dtype=np.float64))[0] for rows in found.logits.values()}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    whole = found.best in found.logits and set(found.words) == set(found.logits)
    return found if found.missing or (whole and shapes == {num_bags}) else None
