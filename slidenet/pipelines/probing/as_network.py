"""`--model.network probe`: a probe as the model, fitted in place of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slidenet.core.errors import ConfigError
from slidenet.data import Split
from slidenet.data.bags.dataset import BagSource
from slidenet.data.datamodule import BagDataModule
from slidenet.evaluation import Probe, best_probe, fit_bag_probes
from slidenet.evaluation.probes.probe import KINDS
from slidenet.mil.probe import BagColumns, ProbeKind, ProbeModel
from slidenet.pipelines.probing.bag_statistics import BagStatistics, read_statistics
from slidenet.stores.atomic import write_json
from slidenet.tasks import MultiTask, Targets, Task
from slidenet.training import SlideClassifier

PROBE = "probe"
"""Its name among the networks."""
PROBE_NAME = "probe.json"
MOST_BAGS = 5000
"""Of more training bags as many are taken, evenly spread over the table: single tiles are bags,
too."""


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A classifier whose network is a fitted probe.

    Attributes:
        module: In eval mode.
        held_out: Logits (M, K) of bags by probes that have not seen them, and their targets: what
            a cut-off and a temperature are chosen on.
    """

    module: SlideClassifier
    held_out: tuple[Tensor, Targets]


def data_to_fit(data: BagDataModule, network: object) -> BagDataModule:
    """The bags as a network is fitted on them: a probe learns from val, too, and needs none.

    Args:
        data: The bags and their split.
        network: Name of the network.
    """
    split = data.split
    if network != PROBE or not split.val:
        return data
    return data.with_split(Split((*split.train, *split.val), (), split.test))


def check_probe(module: SlideClassifier, data: BagDataModule) -> None:
    """Refuses settings that a probe has no use for.

    Raises:
        ConfigError: Naming the setting.
    """
    network = module.network
    assert isinstance(network, ProbeModel)
    task = module.task
    kinds = KINDS.get(task.output, ())
    if network.kind not in ("auto", *kinds):
        raise ConfigError(
            f"kind {network.kind!r} of the probe for a {task.kind} task",
            expected=f"one of auto, {', '.join(kinds)}",
        )
    beside = {
        "--data.covariates": bool(data.settings.covariates),
        "--data.more-features": bool(data.settings.more_features),
        "--data.targets": isinstance(task, MultiTask),
    }
    for name, given in beside.items():
        if given:
            raise ConfigError(
                f"{name} with the network probe, which sees one folder of features and has one "
                "target",
                expected="a network that is trained, such as mean or abmil",
                remedy=f"take --model.network mean, or leave {name} out",
            )
    unused = {
        "--data.sampling balanced": data.settings.sampling != "natural",
        "--data.class-weights balanced": data.settings.class_weights != "none",
        "--data.max-tiles": data.settings.max_tiles is not None,
        "--model.feature-components": module.reduction is not None,
        "--model.feature-scaling standard": module.scaling is not None,
    }
    for name, given in unused.items():
        if given:
            raise ConfigError(
                f"{name} with the network probe, which takes every tile and bag as it is",
                remedy="leave it out",
            )


def fit_network(
    module: SlideClassifier, data: BagDataModule, folder: Path, *, seed: int
) -> FittedNetwork:
    """The same classifier with a probe fitted on train.

    Args:
        module: Its network is a `ProbeModel` that says what is to be chosen.
        data: The bags.
        folder: Gets `probe.json`, which says what was chosen.
        seed: Deals patients into inner folds.

    Raises:
        LabelError: A class has bags of fewer than two patients to choose by.
    """
    network = module.network
    assert isinstance(network, ProbeModel)
    bags, targets = spread(data.bags("train"), data.targets("train"))
    if module.task.scales_target:  # the classifier turns outputs back into the unit of the target
        targets = ((targets - module.target_offset) / module.target_scale).astype(targets.dtype)
    probes = fit_on(
        module.task,
        read_statistics(data, bags),
        bags,
        targets,
        data,
        kinds=None if network.kind == "auto" else (network.kind,),
        columns=None if network.columns == "auto" else network.columns,
        seed=seed,
    )
    best = best_probe(probes)
    settings: dict[str, Any] = {
        "kind": best.kind,
        "columns": best.model.columns,
        "predicts": best.model.predicts,
        "num_rows": len(best.model.rows) if "rows" in best.model.state_dict() else 0,
    }
    fitted = SlideClassifier(**{**module.hparams, "network_settings": settings})
    fitted.network.load_state_dict(best.model.state_dict())
    content = {
        "chosen": best.words,
        "settings": [dict(setting) for setting in best.chosen],
        "errors": {kind: probe.error for kind, probe in probes.items()},
    }
    write_json(folder / PROBE_NAME, content, sort_keys=True)
    tested = np.flatnonzero(~np.isnan(best.out_of_fold).any(axis=1))
    logits = torch.from_numpy(best.out_of_fold[tested]).float()
    return FittedNetwork(fitted.eval(), (logits, targets[tested]))


def fit_on(
    task: Task,
    statistics: BagStatistics,
    bags: Sequence[BagSource],
    targets: Targets,
    data: BagDataModule,
    *,
    kinds: Sequence[ProbeKind] | None = None,
    columns: BagColumns | None = None,
    seed: int,
) -> Mapping[ProbeKind, Probe]:
    """Probes of some bags, each kind with what is best for it.

    Args:
        task: What is predicted.
        statistics: Of these bags, and others perhaps.
        bags: To fit on.
        targets: Of the bags.
        data: Knows their patients.
        kinds: Which; None: all of the task.
        columns: How bags are described; None: chosen inside.
        seed: Deals patients into inner folds.
    """
    names = [bag.bag_id for bag in bags]
    choices: tuple[BagColumns, ...] = ("mean", "mean_std") if columns is None else (columns,)
    return fit_bag_probes(
        task,
        {choice: statistics.of(names, choice) for choice in choices},
        targets,
        [data.label_table.patient_of(bag.slide_ids[0]) for bag in bags],
        kinds=kinds,
        seed=seed,
    )


def spread(bags: Sequence[BagSource], targets: Targets) -> tuple[list[BagSource], Targets]:
    """All bags with their targets, or `MOST_BAGS` of them evenly spread."""
    count = min(len(bags), MOST_BAGS)
    chosen = np.arange(count) * len(bags) // count
    return [bags[int(i)] for i in chosen], targets[chosen]
