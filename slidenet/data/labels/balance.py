"""How many bags of each class a split holds: what it must hold, and weights that even them out."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.errors import SplitError
from slidenet.tasks.task import Task


def check_split_classes(task: Task, targets: npt.NDArray[Any], split: str) -> None:
    """Refuses a split without bags of a class, or for survival without an event.

    For "multilabel", whose labels may be rare, each needs both values in training only.

    Args:
        task: What the labels mean.
        targets: Of the bags of the split.
        split: "train", "val" or "test", for messages.

    Raises:
        SplitError: Naming the class and the split.
    """
    absent = ""
    if task.is_survival:
        absent = "" if (targets[:, 1] == 1).any() else f"event ({task.label_columns[1]} 1)"
    elif task.kind == "multilabel":
        gaps = [
            f"{name} {value}"
            for k, name in enumerate(task.class_names)
            for value in (0, 1)
            if not (targets[:, k] == value).any()
        ]
        absent = f"bag with {gaps[0]}" if gaps and split == "train" else ""
    elif task.is_classification:
        gaps = [name for k, name in enumerate(task.class_names) if not (targets == k).any()]
        absent = f"bag of class {gaps[0]!r} ({task.label_columns[0]})" if gaps else ""
    if absent:
        raise SplitError(
            f"the {split} split of {len(targets)} bags has no {absent}",
            expected="every class in every split",
            remedy="use another split or seed, a larger share for this one, or leave out the class",
        )


def balanced_weights(task: Task, targets: npt.NDArray[Any]) -> Tensor:
    """Weights under which every class counts alike: N / (C * bags of the class).

    For "multilabel" the weight of each label's positives: its negatives / its positives.

    Args:
        task: A task of classes.
        targets: Of the training bags.

    Returns:
        float32 (C,).
    """
    assert task.is_classification, "weights of classes need classes"
    if task.kind == "multilabel":
        weights = (targets == 0).sum(axis=0) / (targets == 1).sum(axis=0)
    else:
        counts = np.bincount(targets, minlength=task.num_classes)
        weights = len(targets) / (task.num_classes * counts)
    return torch.from_numpy(np.asarray(weights, dtype=np.float32))
