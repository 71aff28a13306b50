"""Bags: the tiles of one slide, or of all slides of one patient, read when asked for.

L tiles, D feature length. The order of tiles is that of the files, whatever is drawn from them.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, StoreError
from slidenet.data.bags.lattice import side_by_side, turned
from slidenet.slide_encoders import grid_cells
from slidenet.stores import FeatureFile, FeatureMemory

Draw = tuple[int, int]
"""Index of a bag, and the number of the draw: what a sampler asks for."""


@dataclass(frozen=True, eq=False)
class BagSource:
    """Where a bag comes from.

    Attributes:
        bag_id: slide_id, or patient_id where it holds all slides of a patient.
        files: The features of its slides, in order.
        others: The same slides in each further feature set.
        covariates: float32 (V,), see `BagBatch`; None where there are none.
    """

    bag_id: str
    files: tuple[FeatureFile, ...]
    others: tuple[tuple[FeatureFile, ...], ...] = ()
    covariates: FloatArray | None = None

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """Its slides."""
        return tuple(file.slide_id for file in self.files)

    @property
    def num_tiles(self) -> int:
        """Tiles of its files; unreadable ones, which a bag leaves out, are counted."""
        return sum(file.num_tiles for file in self.files)


@dataclass(frozen=True, eq=False)
class BagTiles:
    """The tiles of a bag in one feature set; every tile is real.

    Attributes:
        features: float32 (L, D).
        coords: int64 (L, 2), level-0 pixels of the tile's slide.
        grid_xy: int64 (L, 2), cells of 256 px at 0.5 mpp; slides of a bag lie side by side.
    """

    features: Tensor
    coords: Tensor
    grid_xy: Tensor


@dataclass(frozen=True, eq=False)
class Bag(BagTiles):
    """One bag in memory.

    Attributes:
        bag_id: As in `BagSource`.
        slide_ids: As in `BagSource`.
        target: As `Task` says, for one bag; None where there are no labels.
        covariates: float32 (V,), see `BagBatch`; None where there are none.
        others: Its tiles in each further feature set.
    """

    bag_id: str
    slide_ids: tuple[str, ...]
    target: Tensor | None
    covariates: Tensor | None = None
    others: tuple[BagTiles, ...] = ()


class BagDataset(Dataset[Bag]):
    """Bags by index, read lazily; safe with any number of worker processes.

    Args:
        bags: Where the bags come from.
        targets: int64 or float32, one row per bag (see `Task`); None where there are no labels.
        max_tiles: Where a bag has more tiles (in a feature set), as many are drawn without
            replacement, in their order; each draw of each bag draws others. For training only.
            None for all tiles.
        turn: Whether every draw mirrors and turns the cells of a bag by chance (a slide has no up),
            for training only.
        seed: Decides which tiles are drawn, and how bags are turned.
        memory: Keeps arrays of files; one may serve several datasets. Nothing is kept without.

    Raises:
        ConfigError: `max_tiles` is below one, or there are not as many targets as bags.
    """

    def __init__(
        self,
        bags: Sequence[BagSource],
        targets: npt.NDArray[np.generic] | None = None,
        *,
        max_tiles: int | None = None,
        turn: bool = False,
        seed: int = 0,
        memory: FeatureMemory | None = None,
    ) -> None:
        check_whole(or_none=True, max_tiles=max_tiles)
        if targets is not None and len(targets) != len(bags):
            raise ConfigError(f"{len(targets)} targets for {len(bags)} bags")
        self.bags = tuple(bags)
        self.targets = None if targets is None else torch.from_numpy(np.array(targets))
        self.max_tiles = max_tiles
        self.turn = turn
        self.seed = seed
        self.memory = memory if memory is not None else FeatureMemory(0)

    def __len__(self) -> int:
        return len(self.bags)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tiles of each bag when read, of all feature sets, by the headers: at most so many."""
        limit = math.inf if self.max_tiles is None else self.max_tiles
        sets = ([bag.files, *bag.others] for bag in self.bags)
        return tuple(
            sum(int(min(sum(file.num_tiles for file in files), limit)) for files in one)
            for one in sets
        )

    @overload
    def __getitem__(self, index: int) -> Bag: ...

    @overload
    def __getitem__(self, index: Sequence[Draw]) -> list[Bag]: ...

    def __getitem__(self, index: int | Sequence[Draw]) -> Bag | list[Bag]:
        """One bag as its first draw gives it, or the draws a sampler asks for."""
        if not isinstance(index, int):
            return [self.read(*draw) for draw in index]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.read(index, 0)

    def read(self, index: int, draw: int) -> Bag:
        """One bag.

        Args:
            index: Which.
            draw: Number of the draw, which decides the tiles where `max_tiles` limits them.

        Raises:
            StoreError: A file is broken, holds NaN or infinite values, or has no readable tile.
            CoordinateError: The slides of the bag do not fit on the lattice side by side.
        """
        bag = self.bags[index]
        known = bag.covariates
        return Bag(
            **vars(self._tiles(bag.files, bag.bag_id, draw)),
            bag_id=bag.bag_id,
            slide_ids=bag.slide_ids,
            target=None if self.targets is None else self.targets[index],
            covariates=None if known is None else torch.tensor(known, dtype=torch.float32),
            others=tuple(
                self._tiles(files, bag.bag_id, draw, number)
                for number, files in enumerate(bag.others, 1)
            ),
        )

    def blocks(self, index: int, num_rows: int) -> Iterator[Tensor]:
        """The features of all tiles of a bag, float32, in blocks of at most so many tiles.

        Of a bag that does not stay in memory one block is there at a time.

        Args:
            index: Which bag.
            num_rows: Of a block.

        Raises:
            StoreError: As `read`.
        """
        files = self.bags[index].files
        if all(self.memory.has_room_for(file) for file in files):
            yield from torch.split(self[index].features, num_rows)
            return
        for file in files:
            file.prove()
        numbers = np.concatenate([rows for rows, _, _ in _real_rows(files)])
        for start in range(0, len(numbers), num_rows):
            rows = _read_rows(files, numbers[start : start + num_rows])
            yield torch.from_numpy(rows).to(torch.float32)

    def _tiles(
        self, files: Sequence[FeatureFile], bag_id: str, draw: int, number: int = 0
    ) -> BagTiles:
        """The tiles of a bag in the feature set of that number."""
        # Of a bag that will not stay in memory only the tiles drawn are read, in windows.
        apart = (
            self.max_tiles is not None
            and sum(file.num_tiles for file in files) > self.max_tiles
            and not all(self.memory.has_room_for(file) for file in files)
        )
        # Numbers of rows stand for the features then.
        slides = _real_rows(files) if apart else [_real_tiles(f, self.memory) for f in files]
        features, coords, grid_xy = slides[0]
        seed = [self.seed, draw, zlib.crc32(bag_id.encode())]
        if len(slides) > 1:
            features, coords = (np.concatenate([slide[i] for slide in slides]) for i in (0, 1))
            grid_xy = side_by_side([slide[2] for slide in slides], bag_id=bag_id)
        if self.max_tiles is not None and len(coords) > self.max_tiles:
            rng = np.random.default_rng([*seed, 2, number] if number else seed)
            rows = np.sort(rng.choice(len(coords), self.max_tiles, replace=False))
            features, coords, grid_xy = features[rows], coords[rows], grid_xy[rows]
        if apart:
            features = _read_rows(files, features)
        if self.turn:  # all sets of a bag alike
            grid_xy = turned(grid_xy, np.random.default_rng([*seed, 1]))
        return BagTiles(
            # A copy in any case: what the memory keeps is nobody else's to change.
            features=torch.from_numpy(features).to(torch.float32, copy=True),
            coords=torch.from_numpy(coords).clone(),
            grid_xy=torch.from_numpy(grid_xy).clone(),
        )


def _real_rows(files: Sequence[FeatureFile]) -> list[tuple[Any, IntArray, IntArray]]:
    """As `_real_tiles` of each, with the numbers of the rows, counted on, for the features."""
    found, start = [], 0
    for file in files:
        with file:
            coords, mask = file.coords, file.mask
        rows = np.flatnonzero(mask)
        _check_any(file, len(rows))
        cells = grid_cells(coords[rows], slide_mpp=file.slide_mpp, slide=file.slide_id)
        found.append((rows + start, coords[rows], cells))
        start += file.num_tiles
    return found


def _read_rows(files: Sequence[FeatureFile], numbers: npt.NDArray[Any]) -> FloatArray:
    """The features of rows that are counted on over files, increasing."""
    found, start = [], 0
    for file in files:
        first, last = np.searchsorted(numbers, (start, start + file.num_tiles))
        if last > first:
            found.append(file.read_rows(numbers[first:last] - start))
        start += file.num_tiles
    return np.concatenate(found)


def _check_any(file: FeatureFile, num_real: int) -> None:
    if not num_real:
        raise StoreError(
            f"{file.path}: none of its {file.num_tiles} tiles could be read from the slide",
            expected="at least one real tile",
            remedy="leave the slide out",
        )


def _real_tiles(file: FeatureFile, memory: FeatureMemory) -> tuple[FloatArray, IntArray, IntArray]:
    """Features, level-0 coords and lattice cells of the real tiles of one slide, in order."""
    features, coords, mask = memory.read(file)
    if not mask.all():
        features, coords = features[mask], coords[mask]
    _check_any(file, len(coords))
    return features, coords, grid_cells(coords, slide_mpp=file.slide_mpp, slide=file.slide_id)
