"""How many bags of each class a split holds: what it must hold, and weights that even them out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.errors import SplitError
from slidenet.tasks import ClassTask, MultiTask, Targets, Task


def check_split_classes(task: Task, targets: Targets, split: str) -> None:
    """Refuses a split without bags of a class, an event of survival or, in training, two values.

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
    if isinstance(task, MultiTask):
        # The first target as it would be alone; the others must be learnable, no more.
        for part in task.parts if split == "train" else task.parts[:1]:
            known = part.known(targets)
            check_split_classes(part.task, part.own(targets[known]), split)
        return
    if split == "test" or (task.partial_labels and split != "train"):
        return
    if task.scales_target and split == "train" and len(np.unique(targets)) < 2:
        what = f"{targets.flat[0]:g}" if targets.size else "missing"
        raise SplitError(
            f"{task.label_columns[0]!r} of the {targets.size} bags to train on: all are {what}",
            expected="values that vary",
            remedy="use another split or seed, or leave this target out",
        )
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
        task: A task of classes, or several targets some of which are.
        targets: Of the training bags.
    """
    assert isinstance(task, ClassTask | MultiTask), "weights of classes need classes"
    return torch.from_numpy(np.asarray(task.balanced_weights(targets), dtype=np.float32))


def target_weights(
    task: MultiTask,
    targets: Targets,
    weights: Sequence[float],
    class_weights: Tensor | None = None,
) -> tuple[float, ...]:
    """How much the loss of each of several targets counts, so that they are on one scale.

    A loss is divided by that of the best constant prediction of the training bags, so that 1 is
    what the base rates reach and 0 is perfect, whatever the kind of task. The partial likelihood of
    a Cox model, which depends on the batch, is left as it is. The weights add up to 1.

    Args:
        task: The targets.
        targets: Of the training bags.
        weights: How much each is to count on that scale.
        class_weights: Those of the loss.
    """
    found = []
    for part, weight in zip(task.parts, weights, strict=True):
        own = torch.from_numpy(np.array(part.own(targets[part.known(targets)])))
        of_classes = class_weights is not None and isinstance(part.task, ClassTask)
        classes = class_weights[part.weights] if of_classes and class_weights is not None else None
        scaled = weight / sum(weights) / _constant_loss(part.task, own, classes)
        # Rounded, because it decides whether a run is the same on another machine.
        found.append(float(f"{scaled:.5g}"))
    return tuple(found)


def _constant_loss(task: Task, targets: Tensor, class_weights: Tensor | None) -> float:
    """The loss of the best prediction that is the same for every bag."""
    if task.needs_baseline:
        return 1.0
    if task.scales_target:
        return float(targets.double().var(correction=0))
    from scipy.optimize import minimize  # here: few of the verbs that load this file train

    def loss(numbers: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = torch.tensor(numbers, dtype=torch.float32, requires_grad=True)
        value = task.loss(logits.expand(len(targets), -1), targets, class_weights)
        (gradient,) = torch.autograd.grad(value, logits)
        return float(value.detach()), gradient.double().numpy()

    return float(minimize(loss, np.zeros(task.num_outputs), jac=True, method="L-BFGS-B").fun)
