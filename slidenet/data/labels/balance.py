"""How many bags of each class a split holds: what it must hold, and weights that even them out."""

import numpy as np
import torch
from torch import Tensor

from slidenet.core.errors import SplitError
from slidenet.tasks import ClassTask, Targets, Task


def check_split_classes(task: Task, targets: Targets, split: str) -> None:
    """Refuses a split without bags of a class, or for survival without an event.

    Of labels some of which may be missing, and which may be rare, each needs both values in
    training only. A test split may lack classes: it is what it is, one hospital or one patient, and
    metrics that need them are not defined on it.

    Args:
        task: What the labels mean.
        targets: Of the bags of the split.
        split: "train", "val" or "test", for messages.

    Raises:
        SplitError: Naming the class and the split.
    """
    if split == "test" or (task.partial_labels and split != "train"):
        return
    for stratum in task.strata(targets):
        if stratum.needed and not stratum.members.any():
            raise SplitError(
                f"the {split} split of {len(targets)} bags has no {stratum.absence}",
                expected="every class in every split",
                remedy="use another split or seed, a larger share for this one, or leave out the "
                "class",
            )


def balanced_weights(task: Task, targets: Targets) -> Tensor:
    """Weights under which every class counts alike, float32 (C,); see `ClassTask`.

    Args:
        task: A task of classes.
        targets: Of the training bags.
    """
    assert isinstance(task, ClassTask), "weights of classes need classes"
    return torch.from_numpy(np.asarray(task.balanced_weights(targets), dtype=np.float32))
