"""A cohort of small generated slides, and a tile encoder that runs in no time."""

import pytest
import torch

from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.testing import write_synthetic_slide
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
