"""Which slides stand for a cohort, and what is known of all from some. No files, no clock."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from slidenet.core.arrays import Float64Array, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Expanded:
    """A number of every slide, known of some.

    Attributes:
        each: float64 (S,), as counted where that was done, else estimated.
        low: Lower end of the 95 % interval of the sum.
        high: Its upper end.
    """

    each: Float64Array
    low: float
    high: float

    @property
    def total(self) -> float:
        """The sum over all slides."""
        return float(self.each.sum())


def choose(strata: Sequence[Hashable], sizes: Float64Array, number: int, *, seed: int) -> IntArray:
    """Slides that stand for all, some of every stratum and of every size.

    Every stratum gives one slide, and two if there is room; the rest is shared by what strata hold
    in sum. Within one, slides are taken in equal steps in order of their sizes, from a drawn start.

    Args:
        strata: Of each slide, such as its format.
        sizes: float64 (S,), not below zero.
        number: How many to take; strata may make it more, as none is left out.
        seed: Of the draw.

    Returns:
        int64 (K,), their indices, increasing.
    """
    if number >= len(strata):
        return np.arange(len(strata))
    rng = np.random.default_rng(seed)
    names = sorted(set(strata), key=str)
    members = [np.flatnonzero([one == name for one in strata]) for name in names]
    least = 2 if number >= 2 * len(names) else 1
    counts = np.array([min(least, len(own)) for own in members])
    weights = np.array([sizes[own].sum() + 1e-9 for own in members])
    while counts.sum() < number:
        room = np.array([len(own) for own in members]) > counts
        wanted = np.where(room, weights / (counts + 0.5), -1.0)
        counts[int(wanted.argmax())] += 1
    taken = []
    for own, count in zip(members, counts, strict=True):
        by_size = own[np.argsort(sizes[own], kind="stable")]
        step = len(own) / count
        places = np.floor(rng.uniform(0, step) + step * np.arange(count)).astype(np.int64)
        taken.append(by_size[np.minimum(places, len(own) - 1)])
    return np.sort(np.concatenate(taken)).astype(np.int64)


def expand(
    strata: Sequence[Hashable],
    sizes: Float64Array,
    known: IntArray,
    values: Float64Array,
    *,
    most: Float64Array | None = None,
) -> Expanded:
    """A number of all slides from that of some, in proportion to a size that is known of all.

    Of each stratum the ratio of the sums is taken (the ratio estimator of survey sampling). The
    interval is that of simple random sampling without replacement in strata, with Student's t; a
    stratum known by one slide borrows the spread of the others.

    Args:
        strata: Of each slide.
        sizes: float64 (S,), what the number grows with.
        known: int64 (K,), slides of which it is known; some of every stratum.
        values: float64 (K,), the number.
        most: float64 (S,), what it cannot exceed; bounds the interval.

    Raises:
        ValueError: A stratum has no known slide.
    """
    each, is_known = np.zeros(len(strata)), np.zeros(len(strata), np.bool_)
    each[known], is_known[known] = values, True
    own = [np.array([one == name for one in strata]) for name in dict.fromkeys(strata)]
    spreads = [_spread(sizes[mask & is_known], each[mask & is_known]) for mask in own]
    degrees = sum(max(0, int((mask & is_known).sum()) - 1) for mask in own)
    pooled = _pooled([spread for spread in spreads if spread is not None])
    variance, unsure = 0.0, False
    for mask, spread in zip(own, spreads, strict=True):
        seen, unseen = mask & is_known, mask & ~is_known
        if not seen.any():
            raise ValueError("a stratum without a known slide")
        base = sizes[seen].sum()
        each[unseen] = sizes[unseen] * (each[seen].sum() / base if base else 0.0)
        if not unseen.any():
            continue
        spread = pooled if spread is None else spread
        unsure |= spread is None
        number, sample = int(mask.sum()), int(seen.sum())
        relative = 0.0 if spread is None else spread
        error = relative * each[seen].mean() if sample else 0.0
        variance += number**2 * (1 - sample / number) * error**2 / sample
    total = float(each.sum())
    sure = float(each[is_known].sum())
    highest = float("inf") if most is None else sure + float(most[~is_known].sum())
    if unsure:
        return Expanded(each, sure, highest)
    half = float(special.stdtrit(max(1, degrees), 0.975)) * variance**0.5 if variance else 0.0
    return Expanded(each, max(sure, total - half), min(highest, total + half))


def _spread(sizes: Float64Array, values: Float64Array) -> float | None:
    """Standard deviation of values around their ratio to sizes, as a share of their mean."""
    if len(values) < 2 or not values.sum() or not sizes.sum():
        return None
    residuals = values - sizes * (values.sum() / sizes.sum())
    return float(np.sqrt((residuals**2).sum() / (len(values) - 1)) / values.mean())


def _pooled(spreads: Sequence[float]) -> float | None:
    return float(np.sqrt(np.mean(np.square(spreads)))) if spreads else None
