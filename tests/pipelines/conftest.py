"""A cohort of small generated slides, and a tile encoder that runs in no time."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import PixelReadError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.slides import tiles
from slidenet.testing import write_synthetic_slide
from slidenet.testing.layouts import halved_levels, write_layout
from slidenet.tile_encoders import InputTransform, TileEncoder

SIDE_PX = 2048


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory):
    """A slide with four pieces of tissue at 0.5 mpp."""
    path = tmp_path_factory.mktemp("slides") / "healthy.tiff"
    write_synthetic_slide(path, SIDE_PX, SIDE_PX, 0.5, seed=3)
    return path


@pytest.fixture
def row(slide_path):
    return SlideRow(slide_id="healthy", slide_path=str(slide_path))


@pytest.fixture
def layout(tmp_path):
    return OutputLayout(tmp_path / "out")


@pytest.fixture
def small_tiles():
    """Settings that cut the small slide into some dozens of tiles."""
    return PreprocessSettings(tile_size_px=128)


@pytest.fixture(scope="session")
def noise_path(tmp_path_factory):
    """A slide of 8 x 8 tiles of 64 px of noise on its first level."""
    picture = np.random.default_rng(5).integers(60, 190, (512, 512, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("slides") / "s.tif"
    return write_layout(path, halved_levels(picture, 2))


class Disk:
    """Fails to read some tiles of `noise_path`, and notes which were asked for.

    Attributes:
        lost: Tiles that cannot be read, counted row by row.
        fails_until: So many reads fail at first.
        asked: Every tile asked for.
    """

    def __init__(self, monkeypatch):
        self.lost, self.asked, self.fails_until = set(), [], 0
        read_tile = tiles.read_tile

        def read(slide, geometry, location, *more):
            x, y = (int(value) // 64 for value in location)
            self.asked.append(8 * y + x)
            if self.asked[-1] in self.lost or len(self.asked) <= self.fails_until:
                raise PixelReadError(f"tile {self.asked[-1]} is on a bad sector")
            return read_tile(slide, geometry, location, *more)

        monkeypatch.setattr(tiles, "read_tile", read)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


class ColourMoments(torch.nn.Module):
    """Mean and deviation of each channel: a 6-d encoder whose numbers a test can check."""

    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)


@pytest.fixture(scope="session")
def colour_encoder():
    no_scaling = InputTransform(
        input_px=32, resize_px=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    return TileEncoder.from_module(ColourMoments(), name="colour", transform=no_scaling)


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    """Probes beside a network choose between few settings, and intervals rest on few resamples."""
    from slidenet.evaluation.probes import kernel, linear, search
    from slidenet.pipelines.results import beside

    monkeypatch.setattr(search, "REPEATS", 1)
    monkeypatch.setattr(linear, "PENALTIES", (0.01, 1.0))
    monkeypatch.setattr(kernel, "COSTS", (1.0,))
    monkeypatch.setattr(kernel, "WIDTHS", (1.0,))
    monkeypatch.setattr(kernel, "NEIGHBOURS", (5, 1))
    monkeypatch.setitem(beside.compare.__kwdefaults__, "num_resamples", 50)
