"""Several yes or no at once, such as mutations of several genes; some may be unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.metrics import DEFAULT_THRESHOLD, BinaryCases, Cases, LabelCases, TargetType
from slidenet.tasks.classes import ClassTask, Forecasts, Question, class_probabilities
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets


@dataclass(frozen=True)
class MultilabelTask(ClassTask):
    """One logit per label; the labels are the columns. Unknown ones (NaN) count for nothing."""

    kind = "multilabel"
    exclusive_classes: ClassVar[bool] = False
    takes_threshold: ClassVar[bool] = True
    partial_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.label_columns))
        super().__post_init__()

    def _rules(self) -> dict[str, tuple[bool, str]]:
        fits = len(set(self.label_columns)) == len(self.label_columns) >= 1
        return super()._rules() | {
            "label_columns": (fits, "one column per label"),
            "class_names": (True, ""),  # they are the columns
        }

    @property
    def num_outputs(self) -> int:
        """Number of labels."""
        return self.num_classes

    def encode(self, cells: LabelCells) -> Targets:
        """float32 (N, K), 0, 1 or NaN where the label is missing."""
        return cells.flags(self.label_columns)

    def target_shape(self, num_bags: int) -> tuple[int, ...]:
        """(N, K)."""
        return (num_bags, self.num_classes)

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        good = np.isnan(targets) | np.isin(targets, (0, 1))
        return np.asarray(good.all(axis=1)), "0, 1 or NaN (missing) for each label"

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: a label that is always present, or never."""
        for name, label in zip(self.class_names, targets.T, strict=True):
            known = np.unique(label[~np.isnan(label)])
            if len(known) < 2:
                found = f"holds {known[0]:g} only" if len(known) else "is empty"
                return Lack(name, found, "both 0 and 1")
        return None

    def strata(self, targets: Targets) -> list[Stratum]:
        """Either value of each label; a missing label is in neither."""
        return [
            Stratum(
                word + name,
                target == value,
                only_in_train=True,
                absence=f"bag with {name} {value}",
            )
            for value, word in ((1, ""), (0, "not "))
            for name, target in zip(self.class_names, targets.T, strict=True)
        ]

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """Each label."""
        filled = np.where(np.isnan(targets), -1, targets).astype(np.int64)
        return dict(zip(self.label_columns, filled.T, strict=True))

    def balanced_weights(self, targets: Targets) -> FloatArray:
        """Of each label's positives: its negatives / its positives, (K,)."""
        weights: FloatArray = (targets == 0).sum(axis=0) / (targets == 1).sum(axis=0)
        return weights

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        known = ~torch.isnan(target)
        # NaN is replaced before the loss: masking it afterwards would still give NaN gradients.
        filled = torch.where(known, target, torch.zeros_like(target)).to(logits)
        each = F.binary_cross_entropy_with_logits(
            logits, filled, pos_weight=weights, reduction="none"
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`."""
        return target.float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Sigmoid; labels do not exclude each other."""
        return logits.sigmoid()

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """Each label."""
        return tuple(
            ExplainedTarget(name, tuple(float(i == k) for i in range(self.num_classes)))
            for k, name in enumerate(self.class_names)
        )

    def decide(self, prediction: PredictionArrays, threshold: float | None = None) -> list[str]:
        """The labels present from `threshold` on, with spaces between them."""
        cut = DEFAULT_THRESHOLD if threshold is None else threshold
        names = np.array(self.class_names)
        return [" ".join(names[row >= cut]) for row in class_probabilities(prediction)]

    def describe_predictions(
        self, prediction: PredictionArrays, threshold: float | None = None
    ) -> list[str]:
        """The labels present."""
        return [f"present: {text or 'none'}" for text in self.decide(prediction, threshold)]

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        return "multilabel"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        probabilities = class_probabilities(prediction)
        return LabelCases(
            [
                BinaryCases(
                    probabilities[question.rows, question.column], question.truth, threshold
                )
                for question in self.questions(target)
            ]
        )

    def questions(self, targets: Targets) -> list[Question]:
        """One per label, of the bags where it is known."""
        questions = []
        for column, (name, label) in enumerate(zip(self.class_names, targets.T, strict=True)):
            rows = np.flatnonzero(~np.isnan(label))
            questions.append(Question(name, column, rows, label[rows] == 1))
        return questions

    def forecasts(self, prediction: PredictionArrays, targets: Targets) -> Forecasts:
        """Of every known label."""
        known = ~np.isnan(targets)
        probabilities = class_probabilities(prediction)[known]
        words = "predicted probability"
        return Forecasts(probabilities, targets[known] == 1, np.nonzero(known)[0], words)
