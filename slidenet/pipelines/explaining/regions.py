"""What if a drawn region were not there: what the model's score of a slide loses with its tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.explanation import drops, subjects_of
from slidenet.explanation.groups import by_label
from slidenet.mil import BagBatch
from slidenet.stores import FeatureFile, TileMaps
from slidenet.tasks import ExplainedTarget
from slidenet.training import Bundle, Ensemble

REGION_COLUMNS = ("bag_id", "region", "target", "lost_without_it")


def without_regions(
    model: Bundle | Ensemble,
    batch: BagBatch,
    file: FeatureFile,
    targets: Sequence[ExplainedTarget],
) -> dict[str, Mapping[str, float]]:
    """What is lost without each drawn region of a slide, in logits; of an ensemble the mean.

    Args:
        model: On its device.
        batch: The slide as one bag.
        file: Its features, which say in which region each tile lies.
        targets: What is explained.

    Returns:
        By region, then target; positive where the region speaks for the target. Empty where all
        tiles lie in one region, without which there is no slide.
    """
    regions = file.regions
    assert regions is not None, "asked by region_names"
    labels = regions.index[file.mask].astype(np.int64)
    present = np.unique(labels)
    if len(present) < 2:
        return {}
    groups = by_label(labels)
    by_target: dict[str, Float64Array] = {}
    for target in targets:
        of_members = [
            drops(subjects_of(m.module, batch.to(m.module.device))[0], target, groups)
            for m in model.members
        ]
        by_target[target.name] = np.mean(of_members, axis=0)
    return {
        regions.names[label]: {name: float(lost[place]) for name, lost in by_target.items()}
        for place, label in enumerate(present)
    }


def region_rows(maps: TileMaps) -> list[tuple[str, str, str, float]]:
    """The same of the bags of a slide as rows of a table (`REGION_COLUMNS`), if it has regions."""
    prediction: Any = maps.prediction
    return [
        (bag_id, region, target, lost)
        for bag_id, said in prediction.items()
        for region, by_target in said.get("without_region", {}).items()
        for target, lost in by_target.items()
    ]
