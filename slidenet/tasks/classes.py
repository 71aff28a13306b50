"""One class of two, of several, or of several in order; base of all tasks of classes."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.core.errors import ConfigError
from slidenet.metrics import DEFAULT_THRESHOLD, BinaryCases, Cases, ClassCases, TargetType
from slidenet.tasks.calibration import Calibration
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.predictions import PredictionArrays, to_array
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets
from slidenet.tasks.task import Output, Shapes, Task


@dataclass(frozen=True, eq=False)
class Question:
    """A yes-or-no question that a task asks of bags: is it of this class?

    Attributes:
        class_name: The class.
        column: Of the probabilities.
        rows: int64 (M,), the bags whose answer is known.
        truth: bool (M,), the answer.
    """

    class_name: str
    column: int
    rows: IntArray
    truth: BoolArray


@dataclass(frozen=True, eq=False)
class Forecasts:
    """How sure a model was, and whether it was right.

    Attributes:
        confidence: (M,) in [0, 1].
        outcome: bool (M,).
        rows: int64 (M,), which bag.
        words: What the confidence is of.
    """

    confidence: FloatArray
    outcome: BoolArray
    rows: IntArray
    words: str


@dataclass(frozen=True)
class ClassTask(Task):
    """A bag is of one class of several; kinds override what differs."""

    output: ClassVar[Output] = "probabilities"
    headline: ClassVar[str] = "auroc"
    exclusive_classes: ClassVar[bool] = True

    def _rules(self) -> dict[str, tuple[bool, str]]:
        fits = len(set(self.class_names)) == self.num_classes >= 2
        return super()._rules() | {"class_names": (fits, "different names, at least 2")}

    def encode(self, cells: LabelCells) -> Targets:
        """int64 (N,), index into `class_names`."""
        return cells.classes(self.label_columns[0], self.class_names)

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        good = np.isin(targets, np.arange(self.num_classes))
        return good, f"a class number from 0 to {self.num_classes - 1}"

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: one class only."""
        found = np.unique(targets)
        if len(found) >= 2:
            return None
        only = f"the class {self.class_names[int(found[0])]!r} only" if len(found) else "no label"
        expected = f"at least two of {', '.join(self.class_names)}"
        return Lack(self.label_columns[0], f"holds {only}", expected)

    def strata(self, targets: Targets) -> list[Stratum]:
        """The classes."""
        column = self.label_columns[0]
        return [
            Stratum(f"{column} {name!r}", targets == k, absence=f"bag of class {name!r} ({column})")
            for k, name in enumerate(self.class_names)
        ]

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """The classes."""
        return {self.label_columns[0]: targets.astype(np.int64)}

    def balanced_weights(self, targets: Targets) -> FloatArray:
        """Weights under which every class counts alike: N / (C * bags of the class), (C,)."""
        counts = np.bincount(targets, minlength=self.num_classes)
        weights: FloatArray = len(targets) / (self.num_classes * counts)
        return weights

    def check_class_weights(self, count: int | None) -> None:
        """See `Task.check_class_weights`."""
        if count is not None and count != self.num_classes:
            raise ConfigError(
                f"{count} class weights for a {self.kind} task",
                expected=f"{self.num_classes} weights ({', '.join(self.class_names)})",
            )

    def instance_loss(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """Binary cross-entropy, the mean over the outputs whose answer is known."""
        wanted = self.output_targets(target)
        assert wanted is not None
        known = ~wanted.isnan()
        loss = F.binary_cross_entropy_with_logits(
            logits, wanted.nan_to_num(0.0), weight=known.float(), reduction="sum"
        )
        return loss / known.sum().clamp(min=1)

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """float32 (B, K) from logits (B, `num_outputs`)."""

    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays:
        return PredictionArrays(to_array(self.probabilities(logits / calibration.temperature)))

    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """See `Task.prediction_shapes`."""
        return {"probabilities": (num_bags, self.num_classes)}

    def decide(
        self, prediction: PredictionArrays, threshold: float | None = None
    ) -> list[str] | None:
        """The class of the highest probability."""
        likeliest = class_probabilities(prediction).argmax(axis=1)
        return [self.class_names[int(k)] for k in likeliest]

    def describe_predictions(
        self, prediction: PredictionArrays, threshold: float | None = None
    ) -> list[str]:
        """The class that is called and its probability: `tumour (0.93)`."""
        called = self.decide(prediction, threshold) or []
        column = [self.class_names.index(name) for name in called]
        shares = class_probabilities(prediction)[np.arange(len(called)), column]
        return [f"{name} ({share:.2f})" for name, share in zip(called, shares, strict=True)]

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        return "multiclass"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        return ClassCases(class_probabilities(prediction), target)

    def questions(self, targets: Targets) -> list[Question]:
        """One per class against the rest."""
        every = np.arange(len(targets))
        return [Question(name, k, every, targets == k) for k, name in enumerate(self.class_names)]

    def forecasts(self, prediction: PredictionArrays, targets: Targets) -> Forecasts:
        """Of the predicted class; what reliability curves and the metric `ece` are about."""
        cases = ClassCases(class_probabilities(prediction), targets)
        words = "probability of the predicted class"
        return Forecasts(cases.confidence, cases.correct, np.arange(len(targets)), words)


@dataclass(frozen=True)
class BinaryTask(ClassTask):
    """Yes or no: one logit, of the second class."""

    kind = "binary"
    has_positive_class: ClassVar[bool] = True
    takes_threshold: ClassVar[bool] = True

    def _rules(self) -> dict[str, tuple[bool, str]]:
        fits = len(set(self.class_names)) == self.num_classes == 2
        return super()._rules() | {"class_names": (fits, "different names, 2")}

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        wanted = target.to(logits)
        each = F.binary_cross_entropy_with_logits(logits[:, 0], wanted, reduction="none")
        return (each if weights is None else each * weights[target.long()]).mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`."""
        return target[:, None].float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of both classes; either is exact near 0."""
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """The positive class."""
        return (ExplainedTarget(self.class_names[1], (1.0,)),)

    def decide(self, prediction: PredictionArrays, threshold: float | None = None) -> list[str]:
        """The positive class from `threshold` on."""
        cut = DEFAULT_THRESHOLD if threshold is None else threshold
        positive = class_probabilities(prediction)[:, 1] >= cut
        return [self.class_names[int(yes)] for yes in positive]

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        return "binary"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        return BinaryCases(class_probabilities(prediction)[:, 1], target == 1, threshold)

    def questions(self, targets: Targets) -> list[Question]:
        """One: is it of the positive class?"""
        return super().questions(targets)[1:]

    def forecasts(self, prediction: PredictionArrays, targets: Targets) -> Forecasts:
        """Of the positive class."""
        score = class_probabilities(prediction)[:, 1]
        words = f"predicted probability of {self.class_names[1]}"
        return Forecasts(score, targets == 1, np.arange(len(targets)), words)


@dataclass(frozen=True)
class MulticlassTask(ClassTask):
    """One logit per class, under a softmax."""

    kind = "multiclass"

    @property
    def num_outputs(self) -> int:
        """Number of classes."""
        return self.num_classes

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        return F.cross_entropy(logits, target.long(), weight=weights, reduction="none").mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`."""
        return F.one_hot(target, self.num_outputs).float()

    def instance_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the classes."""
        return F.cross_entropy(logits, target)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return logits.softmax(1)

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """Each class: its logit less the mean of the others, since only differences count."""
        others = -1 / (self.num_classes - 1)
        return tuple(
            ExplainedTarget(name, (*[others] * k, 1.0, *[others] * (self.num_classes - 1 - k)))
            for k, name in enumerate(self.class_names)
        )


@dataclass(frozen=True)
class OrdinalTask(ClassTask):
    """CORN: conditional ordinal regression (Shi, Cao and Raschka 2021, section 3.4).

    K - 1 logits; logit k is that of P(y > k | y >= k).
    """

    kind = "ordinal"
    headline: ClassVar[str] = "quadratic_kappa"
    ordered_classes: ClassVar[bool] = True

    @property
    def num_outputs(self) -> int:
        """Number of steps between classes."""
        return self.num_classes - 1

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        # Logit k learns from the bags with y >= k only. The sum over k is then the exact negative
        # log-likelihood of the class; it is divided by the bags, where the paper divides by the
        # summed sizes of its subsets.
        steps = torch.arange(logits.shape[1], device=logits.device)
        beyond = (target[:, None] > steps).to(logits)
        asked = (target[:, None] >= steps).to(logits)
        each = F.binary_cross_entropy_with_logits(logits, beyond, reduction="none")
        per_bag = (each * asked).sum(1)
        return (per_bag if weights is None else per_bag * weights[target.long()]).mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`; output k is about bags of class k or above only."""
        steps = target[:, None] - torch.arange(self.num_outputs, device=target.device)
        return torch.where(steps < 0, torch.nan, (steps > 0).float())

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes, by the chain of conditional probabilities."""
        ones = torch.ones_like(logits[:, :1])
        beyond = torch.cat([ones, logits.sigmoid().cumprod(1)], dim=1)  # P(y > k - 1)
        stop = torch.cat([(-logits).sigmoid(), ones], dim=1)  # P(y = k | y >= k)
        return beyond * stop

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """That the class is a higher one: the sum of the logits."""
        return (ExplainedTarget("higher", (1.0,) * self.num_outputs),)


def class_probabilities(prediction: PredictionArrays) -> FloatArray:
    """The probabilities in float64, (N, K)."""
    assert prediction.probabilities is not None, "a task of classes gives probabilities"
    return prediction.probabilities.astype(np.float64)
