"""Checks of slides against each other: the same one twice, scanned or encoded again."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding

_NEIGHBOURS = 10
_LEAST_SLIDES = 8
_DEVIATIONS = 5.0


def same_slide_files(cohort: Cohort) -> Iterator[Finding]:
    """Slides whose features come from the same slide file, by its fingerprint."""
    slides: dict[str, list[str]] = defaultdict(list)
    for slide_id, bag in cohort.opened[0].items():
        if bag.fingerprint:
            slides[bag.fingerprint].append(slide_id)
    for found in slides.values():
        for other in found[1:]:
            what = "come from the same slide file (by its fingerprint)"
            yield _pair(cohort, "same-slide-two-names", found[0], other, what)


def same_features(cohort: Cohort) -> Iterator[Finding]:
    """Slides with the same rows of features, in whatever order, but not the same slide file."""
    slides: dict[str, list[str]] = defaultdict(list)
    for slide_id, summary in cohort.comparable.items():
        slides[summary.digest].append(slide_id)
    for found in slides.values():
        for other in found[1:]:
            if not _same_file(cohort, found[0], other):
                what = "have the same features, to the last bit"
                yield _pair(cohort, "same-features-two-names", found[0], other, what)


def near_duplicates(cohort: Cohort) -> Iterator[Finding]:
    """Slides of two patients with nearly the same mean and deviation of features.

    See `nearest_pairs` for what counts as near. A section scanned again by another scanner may
    differ more than that and stay unseen.
    """
    summaries = cohort.comparable
    dims = {s: len(summary.signature) for s, summary in summaries.items()}
    usual = max(dims.values(), key=list(dims.values()).count, default=0)
    slides = [s for s, dim in dims.items() if dim == usual]
    if len(slides) < _LEAST_SLIDES:
        return
    signatures = np.stack([summaries[s].signature for s in slides])
    patients = np.unique([cohort.table.patient_of(s) for s in slides], return_inverse=True)[1]
    pairs = nearest_pairs(signatures, patients, ratio=cohort.settings.duplicate_ratio)
    for first, second, ratio in pairs:
        one, other = slides[first], slides[second]
        same = summaries[one].digest == summaries[other].digest
        if not same and not _same_file(cohort, one, other):
            what = (
                f"have nearly the same features ({ratio:.2f} of the distance to their next "
                "neighbours)"
            )
            yield _pair(cohort, "near-duplicate-features", one, other, what)


def nearest_pairs(
    signatures: npt.NDArray[np.float64], patients: npt.NDArray[np.int64], *, ratio: float
) -> list[tuple[int, int, float]]:
    """Pairs of slides that are each other's nearest, and far nearer than others are.

    Nearness is the distance to the nearest slide of another patient, over the median distance to
    the next nine (of this slide, or of the cohort where that is less), so that dense corners of a
    cohort are judged by themselves and two slides of a rare kind are no pair. A pair is reported
    below `ratio`, and below five robust deviations under the cohort's own median of log nearness.

    Args:
        signatures: (S, F), one row per slide.
        patients: (S,), slides of one patient are not compared.
        ratio: The largest nearness reported.

    Returns:
        (first, second, nearness) of each pair.
    """
    scale = signatures.std(0)
    used = scale > 1e-12 * max(float(scale.max(initial=0)), 1e-300)
    if not used.any():
        return []
    scaled = (signatures[:, used] - signatures[:, used].mean(0)) / scale[used]
    squared = (scaled**2).sum(1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared - 2 * scaled @ scaled.T, 0))
    distance[patients[:, None] == patients] = np.inf
    nearest = distance.argmin(1)
    ordered = np.sort(distance, axis=1)[:, :_NEIGHBOURS]
    others = np.where(np.isfinite(ordered[:, 1:]), ordered[:, 1:], np.nan)
    comparable = np.isfinite(others).sum(1) >= 3
    if not comparable.any():
        return []
    around = np.full(len(distance), np.nan)
    around[comparable] = np.nanmedian(others[comparable], axis=1)
    # Two slides alone of their kind are near each other only beside what surrounds them.
    around = np.minimum(around, np.nanmedian(around))
    nearness = ordered[:, 0] / np.maximum(around, 1e-300)
    logs = np.log(np.maximum(nearness[comparable], 1e-12))
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    threshold = min(ratio, float(np.exp(np.median(logs) - _DEVIATIONS * spread)))
    return [
        (i, int(j), float(nearness[i]))
        for i, j in enumerate(nearest)
        if i < j and nearest[j] == i and min(nearness[i], nearness[j]) < threshold
    ]


def _same_file(cohort: Cohort, first: str, second: str) -> bool:
    bags = cohort.opened[0]
    return bags[first].fingerprint is not None and (
        bags[first].fingerprint == bags[second].fingerprint
    )


def _pair(cohort: Cohort, code: str, first: str, second: str, what: str) -> Finding:
    """A finding about two slides that are one: an error where a split takes them apart.

    Without splits, slides of two patients are a warning: whoever splits by patient takes them
    apart.
    """
    patients = [cohort.table.patient_of(s) for s in (first, second)]
    rows = [cohort.table.lines[cohort.table.index[s]] for s in (first, second)]
    whose = f"patients {patients[0]} and {patients[1]}"
    if patients[0] == patients[1]:
        whose = f"patient {patients[0]}"
    text = (
        f"slides {first} and {second} of {whose} ({cohort.table.path}, rows {rows[0]} and "
        f"{rows[1]}) {what}"
    )
    apart = cohort.folds_apart(first, second)
    if apart:
        number, one, other = apart[0]
        text += f", and are in {one} and {other} of {cohort.split_name(number)}"
        text += f" and {len(apart) - 1} more" if len(apart) > 1 else ""
    return Finding(
        code,
        "error" if apart else "warning",
        text,
        "remove one of them, or give both the same patient_id",
    )
