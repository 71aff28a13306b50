"""What a slide classifier predicts: the task, its label columns and the names of its classes.

A `Task` is handed from the labels to the model, the loss, the metrics and the predictions file, and
is stored in a checkpoint, so that a model of one task is never applied to another by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity

TaskKind = Literal[
    "binary", "multiclass", "multilabel", "ordinal", "regression", "cox", "discrete_time"
]

CLASSIFICATION: tuple[TaskKind, ...] = ("binary", "multiclass", "multilabel", "ordinal")
SURVIVAL: tuple[TaskKind, ...] = ("cox", "discrete_time")


@dataclass(frozen=True)
class Task:
    """One prediction task, fully specified.

    Targets of B bags, as tensors or arrays of these shapes:

    ============= ==================================================== ======================
    kind          target                                               outputs of a model
    ============= ==================================================== ======================
    binary        int64 (B,), 0 or 1 = index into class_names           1 logit of class 1
    multiclass    int64 (B,), index into class_names                    one logit per class
    multilabel    float32 (B, K), 0, 1 or NaN where the label is missing one logit per label
    ordinal       int64 (B,), index into class_names, in order           K - 1: P(y > k | y >= k)
    regression    float32 (B,)                                          the value
    cox           float32 (B, 2), (time, event); event 1 = happened     log hazard ratio
    discrete_time float32 (B, 2), (time, event)                         one hazard logit per bin
    ============= ==================================================== ======================

    Attributes:
        kind: What is predicted.
        label_columns: Columns of the table of labels: one; one per label for "multilabel"; (time,
            event) for survival.
        class_names: Classes in the order of the outputs, as written in the table. For "binary" the
            negative class first; for "multilabel" the label columns; else empty.
        time_edges: For "discrete_time": upper edges of the bins, ascending, in the unit of the time
            column; bin t holds edges[t - 1] < time <= edges[t], and what lasts beyond the last edge
            is censored there.

    Raises:
        ConfigError: For columns, classes or edges that do not fit the kind.
    """

    kind: TaskKind
    label_columns: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    time_edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(TaskKind):
            raise ConfigError(
                f"unknown task {self.kind!r}", expected=f"one of {', '.join(get_args(TaskKind))}"
            )
        object.__setattr__(self, "label_columns", tuple(self.label_columns))
        names = self.label_columns if self.kind == "multilabel" else self.class_names
        object.__setattr__(self, "class_names", tuple(names))
        object.__setattr__(self, "time_edges", tuple(float(t) for t in self.time_edges))
        self._check_columns()
        self._check_classes()
        self._check_edges()

    @property
    def is_classification(self) -> bool:
        """Whether the model gives probabilities of classes."""
        return self.kind in CLASSIFICATION

    @property
    def is_survival(self) -> bool:
        """Whether the target is a time with an event."""
        return self.kind in SURVIVAL

    @property
    def num_classes(self) -> int:
        """Classes (labels for "multilabel"); 0 where there are none."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """Length of the vector a model gives per bag."""
        outputs = {
            "multiclass": self.num_classes,
            "multilabel": self.num_classes,
            "ordinal": self.num_classes - 1,
            "discrete_time": len(self.time_edges),
        }
        return outputs.get(self.kind, 1)

    def identity(self) -> Identity:
        """The task as plain JSON, for checkpoints and reports."""
        return {
            "kind": self.kind,
            "label_columns": list(self.label_columns),
            "class_names": list(self.class_names),
            "time_edges": list(self.time_edges),
        }

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> "Task":
        """The task that `identity()` described."""
        return cls(
            identity["kind"],
            tuple(identity["label_columns"]),
            tuple(identity["class_names"]),
            tuple(identity["time_edges"]),
        )

    def _check_columns(self) -> None:
        count = len(self.label_columns)
        wanted = {"multilabel": (count >= 1, "one column per label")}
        if self.is_survival:
            wanted[self.kind] = (count == 2, "two columns, time and event")
        good, expected = wanted.get(self.kind, (count == 1, "one column"))
        if not good or len(set(self.label_columns)) != count:
            raise ConfigError(
                f"label columns {', '.join(self.label_columns) or 'none'} for a {self.kind} task",
                expected=expected,
            )

    def _check_classes(self) -> None:
        least = {"binary": 2, "multiclass": 2, "ordinal": 2, "multilabel": 1}.get(self.kind, 0)
        most = {"binary": 2, "regression": 0, "cox": 0, "discrete_time": 0}.get(self.kind, 10**6)
        if least <= self.num_classes <= most and len(set(self.class_names)) == self.num_classes:
            return
        expected = "different names, " + (f"{least}" if least == most else f"at least {least}")
        raise ConfigError(
            f"classes {', '.join(self.class_names) or 'none'} for a {self.kind} task",
            expected="no classes" if most == 0 else expected,
        )

    def _check_edges(self) -> None:
        edges = self.time_edges
        if self.kind != "discrete_time":
            good, expected = not edges, "no time edges"
        else:
            ascending = all(a < b for a, b in pairwise(edges))
            good = len(edges) >= 2 and edges[0] > 0 and ascending
            expected = "at least two positive edges, ascending"
        if not good:
            raise ConfigError(f"time edges {edges} for a {self.kind} task", expected=expected)
