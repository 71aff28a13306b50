"""Bags: the tiles of one slide, or of all slides of one patient, read when asked for.

L tiles, D feature length. The order of tiles is that of the files, whatever is drawn from them.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

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
    """

    bag_id: str
    files: tuple[FeatureFile, ...]

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """Its slides."""
        return tuple(file.slide_id for file in self.files)

    @property
    def num_tiles(self) -> int:
        """Tiles of its files; unreadable ones, which a bag leaves out, are counted."""
        return sum(file.num_tiles for file in self.files)


@dataclass(frozen=True, eq=False)
class Bag:
    """One bag in memory; every tile is real.

    Attributes:
        bag_id: As in `BagSource`.
        slide_ids: As in `BagSource`.
        features: float32 (L, D).
        coords: int64 (L, 2), level-0 pixels of the tile's slide.
        grid_xy: int64 (L, 2), cells of 256 px at 0.5 mpp; slides of a bag lie side by side.
        target: As `Task` says, for one bag; None where there are no labels.
    """

    bag_id: str
    slide_ids: tuple[str, ...]
    features: Tensor
    coords: Tensor
    grid_xy: Tensor
    target: Tensor | None


class BagDataset(Dataset[Bag]):
    """Bags by index, read lazily; safe with any number of worker processes.

    Args:
        bags: Where the bags come from.
        targets: int64 or float32, one row per bag (see `Task`); None where there are no labels.
        max_tiles: Where a bag has more tiles, as many are drawn without replacement, in their
            order; each draw of each bag draws others. For training only. None for all tiles.
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
        """Tiles of each bag when read, by the headers of its files: at most so many."""
        limit = self.max_tiles
        return tuple(b.num_tiles if limit is None else min(b.num_tiles, limit) for b in self.bags)

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
        slides = [_real_tiles(file, self.memory) for file in bag.files]
        features, coords, grid_xy = slides[0]
        if len(slides) > 1:
            features, coords = (np.concatenate([slide[i] for slide in slides]) for i in (0, 1))
            grid_xy = side_by_side([slide[2] for slide in slides], bag_id=bag.bag_id)
        if self.max_tiles is not None and len(coords) > self.max_tiles:
            rng = np.random.default_rng([self.seed, draw, zlib.crc32(bag.bag_id.encode())])
            rows = np.sort(rng.choice(len(coords), self.max_tiles, replace=False))
            features, coords, grid_xy = features[rows], coords[rows], grid_xy[rows]
        if self.turn:
            rng = np.random.default_rng([self.seed, draw, zlib.crc32(bag.bag_id.encode()), 1])
            grid_xy = turned(grid_xy, rng)
        return Bag(
            bag_id=bag.bag_id,
            slide_ids=bag.slide_ids,
            # A copy in any case: what the memory keeps is nobody else's to change.
            features=torch.from_numpy(features).to(torch.float32, copy=True),
            coords=torch.from_numpy(coords).clone(),
            grid_xy=torch.from_numpy(grid_xy).clone(),
            target=None if self.targets is None else self.targets[index],
        )


def _real_tiles(file: FeatureFile, memory: FeatureMemory) -> tuple[FloatArray, IntArray, IntArray]:
    """Features, level-0 coords and lattice cells of the real tiles of one slide, in order."""
    features, coords, mask = memory.read(file)
    if not mask.all():
        features, coords = features[mask], coords[mask]
    if not len(coords):
        raise StoreError(
            f"{file.path}: none of its {file.num_tiles} tiles could be read from the slide",
            expected="at least one real tile",
            remedy="leave the slide out",
        )
    return features, coords, grid_cells(coords, slide_mpp=file.slide_mpp, slide=file.slide_id)
