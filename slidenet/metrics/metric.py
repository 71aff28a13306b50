"""`Metric`: a number that says how good predictions are, and all that must be known to report it.

Names, words, direction, monitors and tables derive from these records. To add a metric, write its
function and its record in the file of its family, and a test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

TargetType = Literal[
    "binary", "multiclass", "multilabel", "continuous", "censored", "censored, with curves"
]
"""What is predicted of a bag: yes or no, one class of several, several yes or no, a value, a risk,
a survival curve."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: In files, logs and settings.
        words: In reports.
        function: Arrays to a number. NaN means "not defined on these bags" and nothing else.
        inputs: Attributes of the cases (`slidenet.metrics.cases`) that the function takes, in order
            of its arguments.
        target_types: Of what it is a metric.
        lower_is_better: Whether a smaller value is better.
        of_order: Whether only the order of the bags counts, not the scale of their scores.
        by_class: Whether it is of one class against the rest: "multiclass" and "multilabel" report
            it for each class too, as `<name>_<class>`, and `name` is the mean over classes.
        label_function: Taken in place of `function` for each label of "multilabel".
    """

    name: str
    words: str
    function: Callable[..., float]
    inputs: tuple[str, ...]
    target_types: tuple[TargetType, ...]
    lower_is_better: bool = False
    of_order: bool = False
    by_class: bool = False
    label_function: Callable[..., float] | None = None

    def __call__(self, cases: object) -> float:
        """The value on cases of one of `target_types`."""
        return self.function(*(getattr(cases, name) for name in self.inputs))

    def of_label(self, cases: object) -> float:
        """The value on the cases of one label of "multilabel"."""
        function = self.label_function or self.function
        return function(*(getattr(cases, name) for name in self.inputs))
