"""One of several targets: its name, its task, and where it lies among the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from slidenet.core.arrays import BoolArray
from slidenet.core.errors import ConfigError
from slidenet.tasks.classes import ClassTask
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.targets import Targets
from slidenet.tasks.task import Task

RESERVED = ("train", "val", "test", "all")
"""No names of targets: files of predictions are already called so."""


@dataclass(frozen=True)
class Part:
    """One of several targets.

    Attributes:
        name: In files, metrics and messages.
        task: What is predicted.
        columns: Where its targets lie among all.
        outputs: Where its logits lie.
        weights: Where its class weights lie.
    """

    name: str
    task: Task
    columns: slice
    outputs: slice
    weights: slice

    def known(self, targets: Targets) -> BoolArray:
        """Bool (B,), which bags have it."""
        return np.asarray(~np.isnan(targets[:, self.columns]).all(axis=1))

    def own(self, targets: Targets) -> Targets:
        """Its targets of bags that have it, as its task has them."""
        columns = targets[:, self.columns]
        if self.task.exclusive_classes:
            return columns[:, 0].astype(np.int64)
        return columns if len(self.task.target_shape(1)) > 1 else columns[:, 0]

    def own_tensor(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Which bags have it, bool (B,), and the targets of those."""
        columns = targets[:, self.columns]
        known = ~columns.isnan().all(dim=1)
        columns = columns[known]
        if self.task.exclusive_classes:
            return known, columns[:, 0].long()
        return known, columns if len(self.task.target_shape(1)) > 1 else columns[:, 0]


def lay_out(targets: Mapping[str, Task]) -> tuple[Part, ...]:
    """The targets side by side, in order."""
    found: list[Part] = []
    columns = outputs = weights = 0
    for name, task in targets.items():
        starts = columns, outputs, weights
        columns += len(task.label_columns)
        outputs += task.num_outputs
        weights += task.num_classes if isinstance(task, ClassTask) else 0
        ends = columns, outputs, weights
        found.append(Part(name, task, *map(slice, starts, ends)))
    return tuple(found)


def explained_parts(parts: Sequence[Part]) -> tuple[ExplainedTarget, ...]:
    """What can be explained of each target, as functions of the logits of all."""
    found = []
    for part in parts:
        before, after = part.outputs.start, parts[-1].outputs.stop - part.outputs.stop
        for one in part.task.explained_targets():
            weights = (*[0.0] * before, *one.weights, *[0.0] * after)
            found.append(ExplainedTarget(f"{part.name}_{one.name}", weights, one.relative))
    return tuple(found)


def check_names(names: Sequence[str]) -> None:
    """Refuses names of targets that cannot be those of files and metrics.

    Raises:
        ConfigError: Fewer than two, a reserved one, or two that differ in their case only.
    """
    if len(names) < 2:
        raise ConfigError(
            f"{len(names)} targets ({', '.join(names) or 'none'})",
            expected="at least two",
            remedy="give one target as --data.task and --data.label-columns",
        )
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?", name) or len(name) > 60:
            raise ConfigError(
                f"a target is named {name!r}",
                expected="letters, digits, - and _, as in the name of a file",
                remedy="give it another name; its column is what label_columns says",
            )
        if name.lower() in RESERVED:
            raise ConfigError(
                f"a target is named {name!r}",
                expected=f"none of {', '.join(RESERVED)}, which are names of splits",
            )
    alike = {name.lower() for name in names}
    if len(alike) < len(names):
        raise ConfigError(
            f"targets {', '.join(names)}", expected="names that differ by more than their case"
        )
