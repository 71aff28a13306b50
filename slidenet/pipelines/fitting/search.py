"""Which settings a cross-validation chooses among inside its folds, checked before it begins."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slidenet.core.errors import ConfigError
from slidenet.core.registry import Registry
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.fitting.arguments import parameters
from slidenet.pipelines.fitting.fit import prepare_fit
from slidenet.pipelines.fitting.plan import DERIVED_FROM_DATA, TrainingPlan
from slidenet.pipelines.probing.as_network import PROBE
from slidenet.training import SlideClassifier

NESTED = "network_settings"


def candidates_of(search: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values to choose among; one empty one where there is no choice.

    Args:
        search: Values by setting of the model: {"learning_rate": [1.0e-4, 1.0e-3],
            "network_settings.hidden_dim": [128, 256]}.

    Raises:
        UnknownNameError: No setting of the model has such a name.
        ConfigError: Values that are no list.
    """
    known: Registry[None] = Registry("setting of the model to search over")
    for name in parameters(SlideClassifier) - DERIVED_FROM_DATA:
        known.add(name, None)
    for name, values in search.items():
        outer, _, inner = name.partition(".")
        if name not in known and not (outer == NESTED and inner):
            raise known.unknown(name)
        if not isinstance(values, list) or not values:
            raise ConfigError(f"search.{name} is {values!r}", expected="a list of values")
    return [
        dict(zip(search, chosen, strict=True)) for chosen in itertools.product(*search.values())
    ]


def check_candidates(
    data: BagDataModule, plan: TrainingPlan, folder: Path, candidates: Sequence[dict[str, Any]]
) -> None:
    """Refuses a candidate that cannot be trained, and writes nothing.

    Args:
        data: The bags, with a split of the cross-validation.
        plan: The model and how it is to be trained.
        folder: Of the cross-validation.
        candidates: Of `candidates_of`.

    Raises:
        ConfigError, UnknownNameError: As `prepare_fit`; or a choice among candidates with
            `keep` "last", by which there is no best epoch to judge a candidate by.
    """
    if len(candidates) > 1 and plan.model["network"] == PROBE:
        raise ConfigError(
            f"a search among {len(candidates)} settings of the network probe",
            expected="none: a probe chooses its settings inside the training part by itself",
            remedy="leave out --folds.search",
        )
    if len(candidates) > 1 and plan.settings.keep == "last":
        raise ConfigError(
            f"a search among {len(candidates)} settings with keep 'last'",
            expected="keep 'best': the best epoch of a candidate is what it is judged by",
            remedy="give --keep best, or leave out --folds.search",
        )
    for candidate in candidates:
        try:
            prepare_fit(data, plan, folder, overrides=candidate)
        except TypeError as error:  # the values of a search have no declared type
            raise ConfigError(
                f"the model cannot be made with {candidate} of the search ({error})",
                expected="values of the kind that the setting takes",
            ) from error
