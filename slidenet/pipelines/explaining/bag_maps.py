"""The maps of one bag: every method and target, averaged over the members of an ensemble."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slidenet.core.errors import NoMapError
from slidenet.core.provenance import JsonValue
from slidenet.explanation import (
    EXPLAINERS,
    Explainer,
    Subject,
    explain_target,
    meant_by,
    over_members,
    subjects_of,
)
from slidenet.explanation.faithfulness import Faithfulness
from slidenet.mil import BagBatch
from slidenet.pipelines.explaining.methods import CONTROLS
from slidenet.stores import TileMap
from slidenet.tasks import ExplainedTarget, PredictionArrays
from slidenet.training import Bundle, Ensemble
from slidenet.training.bundles.ensemble import mean_of


@dataclass(frozen=True, eq=False)
class BagPrediction:
    """What a model says of one bag.

    Attributes:
        predicted: Of the bag alone, with temperature and baseline applied; of an ensemble the mean.
        scores: Of each target by name, in logits; of an ensemble the mean.
    """

    predicted: PredictionArrays
    scores: Mapping[str, float]


@torch.inference_mode()
def predict_bag(model: Bundle | Ensemble, batch: BagBatch) -> BagPrediction:
    """Prediction and logits of one bag.

    Args:
        model: On its device, in evaluation mode.
        batch: One bag, on the CPU.
    """
    members, logits = [], []
    for member in model.members:
        said = member.module(batch.to(member.module.device)).logits.float().cpu()
        members.append(member.task.predict(said, member.calibration))
        logits.append(said[0])
    mean = torch.stack(logits).mean(0)
    targets = model.task.explained_targets()
    return BagPrediction(
        mean_of(members) if len(members) > 1 else members[0],
        {target.name: float(target.score(mean)) for target in targets},
    )


def maps_of_bag(
    model: Bundle | Ensemble,
    batch: BagBatch,
    methods: Sequence[str],
    targets: Sequence[ExplainedTarget],
    *,
    faithfulness: bool,
    skip: bool = False,
) -> tuple[list[list[TileMap]], dict[str, str]]:
    """The maps of one bag in each feature set, by target, then method.

    Args:
        model: On its device.
        batch: One bag, on the CPU.
        methods: Names of methods that apply to every network of the model.
        targets: What is explained.
        faithfulness: Whether the score after deletion and insertion is measured for each map.
        skip: Whether a method that can say nothing of this bag (of one tile, say) is left out,
            unless all are.

    Returns:
        Per feature set the maps, each with one value per real tile of the bag, in its order; and
        why methods were left out, by their names.

    Raises:
        ExplanationError: A map that is not finite, naming the layer and the tile.
        NoMapError: A bag that a method can say nothing of.
    """
    refused: dict[str, str] = {}
    found: dict[tuple[int, str, str], list[tuple[Any, Mapping[str, JsonValue]]]] = {}
    measured: dict[tuple[int, str, str], list[Mapping[str, JsonValue]]] = {}
    meanings: dict[tuple[int, str], Explainer] = {}
    sets = 1 + len(batch.others)
    for member in model.members:
        subjects = subjects_of(member.module, batch.to(member.module.device))
        for number, subject in enumerate(subjects):
            meanings |= {(number, name): meant_by(name, subject.network) for name in methods}
            for target in targets:
                made = {}
                for name in methods:
                    if name in refused:
                        continue
                    try:
                        made[name] = explain_target(name, subject, target)
                    except NoMapError as error:
                        others = [n for n in methods if n not in (*refused, *CONTROLS, name)]
                        if not (skip and others):
                            raise
                        refused[name] = error.found
                for name, one in made.items():
                    found.setdefault((number, target.name, name), []).append(one)
                if faithfulness and len(subject) > 1:
                    for name, said in _faithfulness(subject, target, made).items():
                        measured.setdefault((number, target.name, name), []).append(said)
    maps: list[list[TileMap]] = [[] for _ in range(sets)]
    by_name = {target.name: target for target in targets}
    for key, results in found.items():
        number, target_name, method = key
        if method in refused:  # by another member, target or feature set
            continue
        maps[number] += _as_maps(
            method,
            meanings[number, method],
            by_name[target_name],
            results,
            measured.get(key, []),
        )
    return maps, refused


def _as_maps(
    method: str,
    meaning: Explainer,
    target: ExplainedTarget,
    results: Sequence[tuple[Any, Mapping[str, JsonValue]]],
    measured: Sequence[Mapping[str, JsonValue]],
) -> list[TileMap]:
    """What the members say by one method about one target: their mean, and where they disagree."""
    values, details = results[0][0], dict(mean_details([one for _, one in results]))
    spread = None
    if len(results) > 1:
        values, spread, more = over_members([one for one, _ in results])
        details |= more
    if target.relative:
        details["relative"] = True
    if measured:
        details["faithfulness"] = mean_details(measured)
    signed, unit, is_evidence = meaning.signed, meaning.unit, EXPLAINERS[method].is_evidence
    values = np.asarray(values, np.float32)
    maps = [TileMap(values, method, target.name, signed, unit, is_evidence, plain(details))]
    if spread is not None and is_evidence:
        more = {"members": len(results)}
        maps.append(TileMap(spread, f"spread:{method}", target.name, False, unit, False, more))
    return maps


def _faithfulness(
    subject: Subject, target: ExplainedTarget, made: Mapping[str, tuple[Any, object]]
) -> dict[str, Mapping[str, JsonValue]]:
    """How the score follows each map; the random orders are the same for all."""
    measure = Faithfulness(subject, target)
    return {name: measure.of(values) for name, (values, _) in made.items()}


def mean_details(parts: Sequence[Mapping[str, JsonValue]]) -> dict[str, JsonValue]:
    """The details of several members as one: the mean of numbers, and of the rest the first."""
    if len(parts) == 1:
        return dict(parts[0])
    mean: dict[str, JsonValue] = {}
    for name, first in parts[0].items():
        values = [part.get(name) for part in parts]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        mean[name] = float(np.mean(numbers)) if len(numbers) == len(values) else first
    return mean


def plain(value: Any) -> Any:
    """Numbers and lists as JSON has them: what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
