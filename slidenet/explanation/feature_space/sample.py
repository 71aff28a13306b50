"""Some tiles of every slide and the mean of all of them, in one reading of a cohort."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import Float64Array, IntArray, row_blocks
from slidenet.core.errors import EmptyTissueError, SlidenetError
from slidenet.core.text import count_of
from slidenet.stores import FeatureFile

Ended = Callable[[str, SlidenetError | None], None]
"""Told of a slide when it has been read, and what was wrong with it."""


def reraise(slide_id: str, error: SlidenetError | None) -> None:
    """An `Ended` that takes no slide with an error."""
    if error is not None:
        raise error.with_slide(slide_id)


@dataclass(frozen=True, eq=False)
class CohortSample:
    """Tiles drawn from the slides of a cohort, of each about as many.

    Attributes:
        slide_ids: The slides that have tiles, S of them.
        features: float32 (n, D), of the tiles drawn.
        slide: int64 (n,), of which slide each is, as its place in `slide_ids`.
        tile: int64 (n,), its row in the features file of that slide.
        coords: int64 (n, 2), its place on that slide, level-0 px.
        means: float64 (S, D), over all readable tiles of each slide.
        num_tiles: int64 (S,), readable tiles of each slide.
    """

    slide_ids: tuple[str, ...]
    features: npt.NDArray[np.float32]
    slide: IntArray
    tile: IntArray
    coords: IntArray
    means: Float64Array
    num_tiles: IntArray

    def __len__(self) -> int:
        return len(self.features)

    def thinned(self, most: int) -> "CohortSample":
        """At most so many of its tiles, evenly over slides and tiles; itself where it has fewer."""
        if len(self) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self) - 1, most).round().astype(np.int64))
        return CohortSample(
            self.slide_ids,
            self.features[kept],
            self.slide[kept],
            self.tile[kept],
            self.coords[kept],
            self.means,
            self.num_tiles,
        )


def rows_drawn(mask: npt.NDArray[np.bool_], most: int, slide_id: str, seed: int) -> IntArray:
    """Readable tiles of a slide drawn at random, in order; the same whatever else is drawn.

    Args:
        mask: bool (N,), True = readable.
        most: So many, or all where there are fewer.
        slide_id: Of the slide; other slides are drawn otherwise.
        seed: Of the draw.
    """
    rng = np.random.default_rng((seed, zlib.crc32(slide_id.encode())))
    rows = np.flatnonzero(mask)
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    return rows.astype(np.int64)


def sample_cohort(
    files: Mapping[str, FeatureFile],
    *,
    max_tiles: int,
    seed: int = 0,
    ended: Ended = reraise,
) -> CohortSample:
    """Draws tiles from every slide; each file is read once, in blocks.

    Slides count alike: of S slides at most `max_tiles` / S tiles (rounded up) are drawn from each,
    so that one large slide does not decide what the colours of all others mean.

    Args:
        files: Features of each slide, all of one length.
        max_tiles: Tiles drawn in all, about.
        seed: Of the draw.
        ended: Told of each slide when it has been read, and what was wrong with it; then it is left
            out.

    Raises:
        EmptyTissueError: No slide has a readable tile.
        StoreError: A file is broken, unless `ended` takes that.
    """
    quota = max(1, -(-max_tiles // max(len(files), 1)))
    names, drawn, means, counts = [], [], [], []
    places: list[tuple[IntArray, IntArray]] = []
    for slide_id, file in files.items():
        total, parts = np.zeros(file.feature_dim), []
        try:
            with file:
                mask, coords = file.mask, file.coords
                rows = rows_drawn(mask, quota, slide_id, seed)
                for block_rows, block in row_blocks(file.features):
                    block = block.astype(np.float32)
                    total += block[mask[block_rows]].sum(axis=0, dtype=np.float64)
                    start, stop = np.searchsorted(rows, (block_rows.start, block_rows.stop))
                    parts.append(block[rows[start:stop] - block_rows.start])
        except SlidenetError as error:
            ended(slide_id, error)
            continue
        ended(slide_id, None)
        if not mask.any():
            continue
        names.append(slide_id)
        drawn.append(np.concatenate(parts))
        places.append((rows, coords[rows]))
        means.append(total / mask.sum())
        counts.append(int(mask.sum()))
    if not names:
        raise EmptyTissueError(
            f"none of {count_of('slide', len(files))} has a readable tile",
            expected="features of at least one tile",
            remedy="look at tissue.csv and the overlays of `slidenet preprocess`",
        )
    return CohortSample(
        tuple(names),
        np.concatenate(drawn),
        np.repeat(np.arange(len(names)), [len(rows) for rows, _ in places]),
        np.concatenate([rows for rows, _ in places]),
        np.concatenate([coords for _, coords in places]),
        np.stack(means),
        np.array(counts, np.int64),
    )
