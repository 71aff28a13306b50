"""What is known of a patient beside the picture, as a linear part of the logits (late fusion).

    logits = network(tiles) + W encode(covariates) + b

Age, sex or stage are told by few numbers, whose effect on few patients a linear model estimates
best; and what it says can be read off, and left away. W and b begin as the penalised fit of the
training labels by the covariates alone (`CovariateModel.fit`, a convex problem), so that the
network learns what these do not tell. Everything that is estimated - means, deviations, categories
and their shares - comes from the training bags and is part of the settings of a model.

B bags, V covariates, E encoded columns, K outputs.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import ConfigError
from slidenet.core.text import name_some

MOST_DEVIATIONS = 5.0
"""Numbers further from the training mean are taken as so far: an age of 999 must not decide."""

PENALTY = 1.0
"""Of the first fit: half the squared weights of standardised columns, per training bag."""

_CODE_BYTES = 3  # below 2**24, every whole number is exact in float32


def category_code(category: str) -> float:
    """The number that stands for a category in `BagBatch.covariates`, the same in every cohort.

    A code must not depend on which other categories there are: models of several folds, each of
    which has seen others, take the same batch.
    """
    return float(int.from_bytes(hashlib.sha256(category.encode()).digest()[:_CODE_BYTES], "big"))


@dataclass(frozen=True)
class CovariateColumn:
    """How one covariate is encoded; estimated on training bags (`fit_column`).

    Attributes:
        name: Its column in the table.
        categories: Those of the training bags, sorted; None for a number.
        centre: Mean of a number, or the share of each category, over the bags where it is known.
        scale: Standard deviation of a number; 1 for categories and for what does not vary.
        missing: Share of the bags where it is not known.
    """

    name: str
    categories: tuple[str, ...] | None
    centre: tuple[float, ...]
    scale: float
    missing: float

    @property
    def width(self) -> int:
        """Encoded columns: the number or one per category, and whether it is missing."""
        return len(self.centre) + 1

    def encode(self, values: Tensor) -> Tensor:
        """(B,) as in `BagBatch.covariates` to (B, width); zeros for what is average or unknown."""
        centre = values.new_tensor(self.centre)
        if self.categories is None:
            deviations = (values[:, None] - centre) / self.scale
            columns = deviations.nan_to_num(0.0).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        else:
            codes = values.new_tensor([category_code(category) for category in self.categories])
            member = values[:, None] == codes
            # A category that training has not seen says as little as a missing one.
            columns = (member.to(values.dtype) - centre) * member.any(dim=1, keepdim=True)
        gone = values.isnan().to(values.dtype) - self.missing
        return torch.cat([columns, gone[:, None]], dim=1)


def fit_column(
    name: str, values: FloatArray, categories: Sequence[str] | None = None
) -> CovariateColumn:
    """Estimates how a covariate is encoded.

    Args:
        name: Its column.
        values: (N,) as in `BagBatch.covariates`, of the training bags.
        categories: Those that may be there; None for a number.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    missing = 1 - len(known) / len(values)
    if categories is not None:
        counts = {c: int((known == category_code(c)).sum()) for c in sorted(categories)}
        shares = {c: count / len(known) for c, count in counts.items() if count}
        return CovariateColumn(name, tuple(shares), tuple(shares.values()), 1.0, missing)
    mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    varies = deviation > 1e-6 * abs(mean)  # in float32 what is equal may differ by so much
    return CovariateColumn(name, None, (mean,), deviation if varies else 1.0, missing)


def columns_of(settings: Sequence[Mapping[str, Any]]) -> tuple[CovariateColumn, ...]:
    """Columns out of the settings of a model (`CovariateColumn` as a mapping).

    Raises:
        ConfigError: They describe no columns.
    """
    columns = []
    for one in settings:
        try:
            names = one["categories"]
            column = CovariateColumn(
                str(one["name"]),
                None if names is None else tuple(map(str, names)),
                tuple(map(float, one["centre"])),
                float(one["scale"]),
                float(one["missing"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"covariates that describe no column ({type(error).__name__}: {error})",
                expected="name, categories, centre, scale and missing of each",
            ) from error
        numbers = [*column.centre, column.scale, column.missing]
        count = 1 if column.categories is None else len(column.categories)
        if len(column.centre) != count or not np.isfinite(numbers).all() or column.scale <= 0:
            raise ConfigError(
                f"the covariate {column.name!r} with the numbers {name_some(numbers)}",
                expected="finite ones, one per category, and a scale above 0",
            )
        columns.append(column)
    if len({column.name for column in columns}) < len(columns):
        raise ConfigError("covariates name a column twice", expected="each once")
    return tuple(columns)


class CovariateModel(nn.Module):
    """Covariates to their part of the logits: (B, V) -> (B, K); zero before `fit`.

    Args:
        columns: How each covariate is encoded, in the order of V.
        num_outputs: K.

    Raises:
        ConfigError: There is no column.
    """

    def __init__(self, columns: Sequence[CovariateColumn], num_outputs: int) -> None:
        super().__init__()
        if not columns:
            raise ConfigError("a model of no covariates", expected="at least one column")
        self.columns = tuple(columns)
        self.linear = nn.Linear(sum(column.width for column in columns), num_outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def encode(self, values: Tensor) -> Tensor:
        """(B, V) as in `BagBatch.covariates` to float32 (B, E)."""
        parts = [column.encode(values[:, i]) for i, column in enumerate(self.columns)]
        return torch.cat(parts, dim=1)

    def forward(self, values: Tensor) -> Tensor:
        """(B, V) to (B, K), float32."""
        with torch.autocast(values.device.type, enabled=False):
            logits: Tensor = self.linear(self.encode(values.float()))
        return logits

    def fit(self, values: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        """Fits weights and biases to the covariates alone, by L-BFGS from zero.

        Args:
            values: (N, V) of the training bags.
            loss: Mean loss of their logits (N, K), convex.
        """
        with torch.no_grad():
            encoded = self.encode(values.float())
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)
        optimiser = torch.optim.LBFGS(
            self.linear.parameters(), max_iter=500, history_size=20, line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
        )  # fmt: skip

        def objective() -> Tensor:
            optimiser.zero_grad()
            penalty = PENALTY / (2 * len(values)) * self.linear.weight.square().sum()
            value = loss(self.linear(encoded)) + penalty
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimiser.step(objective)  # type: ignore[no-untyped-call]
        optimiser.zero_grad()
