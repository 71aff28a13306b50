"""The nearest tiles and slides by cosine similarity, whatever the size of the cohort."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import Float64Array, FloatArray, IntArray, row_blocks
from slidenet.core.errors import SlidenetError
from slidenet.explanation.feature_space.sample import Ended, reraise
from slidenet.stores import FeatureFile

EXTREME = 1e-15
"""Lengths below which squares of float32 lose digits."""


class Nearest(NamedTuple):
    """What is nearest to one query, the nearest first.

    Attributes:
        slide: int64 (k,), which slide, as its place in the cohort.
        tile: int64 (k,), row in the features file of that slide; of slides, all zero.
        cosine: float64 (k,), cosine similarity, -1 to 1.
    """

    slide: IntArray
    tile: IntArray
    cosine: Float64Array


def unit_rows(rows: FloatArray) -> npt.NDArray[np.float32]:
    """Rows of length one, float32; a row of zeros stays, and is like nothing (cosine 0)."""
    rows = rows.astype(np.float64)  # squares of float32 may be too large, or too small, for it
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def _cosines(wanted: npt.NDArray[np.float32], rows: FloatArray) -> npt.NDArray[np.float32]:
    """Cosines of unit rows (Q, D) with any rows (n, D): (Q, n)."""
    rows = rows.astype(np.float32)
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    extreme = ~np.isfinite(length) | (length < EXTREME)
    if extreme.any():
        rows[extreme], length[extreme] = unit_rows(rows[extreme]), 1
    return np.asarray(wanted @ rows.T / np.where(length > 0, length, 1), np.float32)


class _Best:
    """The nearest rows so far of one query.

    Args:
        num: How many are kept.
        per_slide: At most so many of one slide; None: any number.

    Attributes:
        nearest: They, the nearest first; of equally near ones the first of the cohort.
    """

    def __init__(self, num: int, per_slide: int | None) -> None:
        self.num, self.per_slide = num, per_slide
        self.nearest = Nearest(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def add(self, slide: int, tiles: IntArray, cosine: FloatArray) -> None:
        """Rows of one slide, in any order; those of a slide come one after the other."""
        most = self.num if self.per_slide is None else min(self.num, self.per_slide)
        if len(cosine) > most:
            # All that are as near as the last one kept, so that ties go by the order of tiles.
            least = np.partition(cosine, len(cosine) - most)[len(cosine) - most]
            near = np.flatnonzero(cosine >= least)
            tiles, cosine = tiles[near], cosine[near]
        found = self.nearest
        slides = np.concatenate([found.slide, np.full(len(tiles), slide, np.int64)])
        tiles = np.concatenate([found.tile, tiles])
        cosines = np.concatenate([found.cosine, cosine.astype(np.float64)])
        order = np.lexsort((tiles, slides, -cosines))
        if self.per_slide is not None:
            order = order[_rank_in_group(slides[order]) < self.per_slide]
        order = order[: self.num]
        self.nearest = Nearest(slides[order], tiles[order], cosines[order])


def _rank_in_group(groups: IntArray) -> IntArray:
    """How many earlier entries are of the same group: int64 (n,)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    starts = np.repeat(begins, np.diff(np.r_[begins, len(ordered)]))
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - starts
    return rank


def nearest_tiles(
    queries: FloatArray,
    files: Mapping[str, FeatureFile],
    *,
    num: int,
    left_out: Callable[[str], bool] = lambda _: False,
    itself: tuple[str, IntArray] | None = None,
    per_slide: int | None = None,
    ended: Ended = reraise,
) -> list[Nearest]:
    """The tiles of a cohort that are nearest to each query.

    Features are read in blocks of rows, and of each query only the nearest are kept: memory does
    not grow with the cohort. Tiles that could not be read are never near.

    Args:
        queries: (Q, D).
        files: Features of each slide.
        num: Tiles per query.
        left_out: Whether no tile of a slide may be near: the query's own, those of its patient.
        itself: A slide and of each query its own tile there, which is never near itself.
        per_slide: At most so many tiles of one slide per query; None: any number.
        ended: Told of each slide when it has been looked at, and what was wrong with it; then
            nothing of it is near.

    Returns:
        Of each query; fewer than `num` where the cohort has no more.

    Raises:
        StoreError: A file is broken, unless `ended` takes that.
    """
    wanted = unit_rows(queries)
    best = [_Best(num, per_slide) for _ in wanted]
    for place, (slide_id, file) in enumerate(files.items()):
        if left_out(slide_id):
            ended(slide_id, None)
            continue
        own = itself[1] if itself is not None and itself[0] == slide_id else None
        of_slide = [_Best(num, per_slide) for _ in wanted]
        try:
            with file:
                mask = file.mask
                for rows, block in row_blocks(file.features):
                    tiles, cosines = np.arange(len(mask))[rows], _cosines(wanted, block)
                    for query, keeper in enumerate(of_slide):
                        taken = mask[rows] if own is None else mask[rows] & (tiles != own[query])
                        keeper.add(place, tiles[taken], cosines[query, taken])
        except SlidenetError as error:
            ended(slide_id, error)
            continue
        for keeper, found in zip(best, of_slide, strict=True):
            keeper.add(place, found.nearest.tile, found.nearest.cosine)
        ended(slide_id, None)
    return [keeper.nearest for keeper in best]


def nearest_slides(
    query: FloatArray,
    embeddings: FloatArray,
    *,
    num: int,
    left_out: npt.NDArray[np.bool_],
) -> Nearest:
    """The slides whose vectors are nearest to a slide's.

    Args:
        query: (D,).
        embeddings: (S, D).
        num: Slides.
        left_out: bool (S,), True = may not be near: the slide itself, those of its patient.
    """
    cosine = unit_rows(embeddings) @ unit_rows(query[None])[0]
    slides = np.flatnonzero(~left_out)
    order = slides[np.argsort(-cosine[slides], kind="stable")[:num]]
    zeros = np.zeros(len(order), np.int64)
    return Nearest(order.astype(np.int64), zeros, cosine[order].astype(np.float64))
