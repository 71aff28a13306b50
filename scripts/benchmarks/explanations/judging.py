"""Maps of test slides, and how well they find the lesions that were planted there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from explanations.setups import SETUPS, test_bags, train
from slidenet.core.arrays import BoolArray
from slidenet.explanation import EXPLAINERS, Faithfulness, Subject, explain_target, subjects_of
from slidenet.explanation.subject import untrained_network
from slidenet.mil import BagBatch
from slidenet.tasks import ExplainedTarget
from slidenet.training import SlideClassifier

MANY_PASSES = (
    "integrated_gradients", "occlusion", "occlusion_regions", "occlusion_clusters", "swap",
)  # fmt: skip
"""Methods that take seconds for a slide where `Setup.is_slow`."""

REMOVED_BAGS = 3
"""Bags whose tiles are taken out one by one, as an oracle of occlusion."""


@dataclass(frozen=True)
class Case:
    """A slide with lesions, as the model judged it.

    Attributes:
        subject: Its bag.
        target: What is explained.
        lesion: Bool (N,), the truth.
        group: "called" and "missed" slides with lesions; of positions those called "near" and "far"
            rightly, and "wrong" ones.
        sign: -1 where the model spoke against the target: evidence of "far" is negative.
    """

    subject: Subject
    target: ExplainedTarget
    lesion: BoolArray
    group: str
    sign: int


def auroc(truth: BoolArray, values: Any) -> float:
    """Chance that a lesion tile stands above another tile; ties count half."""
    ranks, count = rankdata(values), int(truth.sum())
    return float((ranks[truth].sum() - count * (count + 1) / 2) / (count * (~truth).sum()))


def precision(truth: BoolArray, values: Any) -> float:
    """Share of lesion among as many top tiles as there are lesion tiles."""
    top = np.argsort(-np.asarray(values), kind="stable")[: int(truth.sum())]
    return float(truth[top].mean())


def judge(
    out: Any, name: str, seed: int, most_bags: int, beside: int, slow_bags: int | None = None
) -> dict[str, Any]:
    """All methods that apply, on the test slides of one trained model.

    Args:
        out: Where cohorts and models lie.
        name: Of a setup.
        seed: Of cohort and training.
        most_bags: Of each group that maps are drawn of.
        beside: Of these, on which untrained networks and random orders stand beside the maps.
        slow_bags: Of these, for methods of many passes and for what stands beside maps, where the
            setup is slow; None: all.

    Returns:
        `auroc` of the model on its test slides (of its value or risk: against slides without a
        lesion); of each `group` the number of slides and per method the means over them;
        `completeness`: the largest gap of integrated gradients and the median number of steps;
        `removal`: the largest difference of occlusion from removing each tile.
    """
    module = train(out, name, seed).module
    scores, labels, cases = cases_of(module, name, test_bags(out, name, seed))
    untrained = untrained_network(module, seed=seed)
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    found: dict[str, Any] = {"auroc": auroc(labels, scores), "groups": {}}
    gaps, steps = [], []
    few = most_bags
    if slow_bags is not None and SETUPS[name].is_slow:
        few, beside = min(slow_bags, most_bags), min(slow_bags, beside)
    for group, members in sorted(groups.items()):
        chosen = members[:most_bags]
        rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for number, case in enumerate(chosen):
            known = Faithfulness(case.subject, case.target) if number < beside else None
            left_out = MANY_PASSES if number >= few else ()
            for method, (values, details) in maps_of(case.subject, case.target, left_out).items():
                note(rows[method], "", case, method, values)
                if known is not None:
                    rows[method]["beats"].append(beats_random(known, case, method, values))
                if "completeness_gap" in details:
                    gaps.append(details["completeness_gap"])
                    steps.append(details["steps"])
            if number >= beside:
                continue
            other = case.subject.with_network(untrained)
            for method, (values, _) in maps_of(other, case.target).items():
                note(rows[method], "untrained_", case, method, values)
        means = {m: {k: float(np.mean(v)) for k, v in row.items()} for m, row in rows.items()}
        found["groups"][group] = {
            "slides": len(members),
            "bags": len(chosen),
            "slow_bags": min(few, len(chosen)),
            "methods": means,
        }
    if gaps:
        found["completeness"] = {"gap": max(gaps), "steps": float(np.median(steps))}
    called = next(m for g, m in groups.items() if g in ("called", "near"))
    found["removal"] = max(removal_error(case) for case in called[:REMOVED_BAGS])
    return found


def cases_of(
    module: SlideClassifier, name: str, bags: Iterable[tuple[BagBatch, BoolArray]]
) -> tuple[Any, BoolArray, list[Case]]:
    """Scores and labels of all test slides, and those with lesions as cases."""
    (target,) = module.task.explained_targets()
    scores, labels, cases = [], [], []
    cohort = SETUPS[name].cohort
    for batch, lesion in bags:
        (subject,) = subjects_of(module, batch)
        with torch.no_grad():
            score = float(subject.score(target))
        is_positive = bool(batch.target.item()) if cohort == "position" else bool(lesion.any())
        scores.append(score)
        labels.append(is_positive)
        is_called = target.relative or score > 0
        if cohort == "position":
            group = ("near" if is_called else "far") if is_called == is_positive else "wrong"
        else:
            group = "called" if is_called else "missed"
        if lesion.any():
            sign = -1 if cohort == "position" and not is_called else 1
            cases.append(Case(subject, target, lesion, group, sign))
    return np.array(scores), np.array(labels), cases


def maps_of(
    subject: Subject, target: ExplainedTarget, left_out: Sequence[str] = ()
) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Every method that applies; the untrained network is a column here, not a method."""
    return {
        name: explain_target(name, subject, target)
        for name in EXPLAINERS
        if name not in ("untrained", *left_out) and not EXPLAINERS[name].applies_to(subject.network)
    }


def note(row: dict[str, list[float]], head: str, case: Case, method: str, values: Any) -> None:
    """Takes a map of a case into the numbers of a method."""
    if EXPLAINERS[method].signed:
        values = case.sign * values
    row[f"{head}auroc"].append(auroc(case.lesion, values))
    row[f"{head}precision"].append(precision(case.lesion, values))


def beats_random(known: Faithfulness, case: Case, method: str, values: Any) -> float:
    """Share of the random orders that a map is ahead of, in deletion and insertion alike."""
    # Of a score that speaks against the target the tiles that hold it down come first.
    details = known.of(values if EXPLAINERS[method].signed else case.sign * values)
    beaten = [int(details[f"{name}_beats"]) for name in ("deletion", "insertion")]
    return float(np.mean(beaten)) / int(details["random_orders"])


@torch.no_grad()
def removal_error(case: Case) -> float:
    """Largest difference between the map of occlusion and the bag without each tile.

    NaN for networks of which tiles are replaced and not removed, because their place matters.
    """
    subject, target = case.subject, case.target
    values, details = explain_target("occlusion", subject, target)
    if details["effect"] != "removed":
        return float("nan")
    whole = float(subject.score(target))
    kept = ~torch.eye(len(subject), dtype=torch.bool)
    losses = [whole - float(subject.score(target, keep=keep)) for keep in kept]
    return float(np.abs(np.array(losses) - values).max())
