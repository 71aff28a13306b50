"""Fixtures every room shares."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

from slidenet.slides import open_slide

# The same examples every time: a test that fails somewhere fails everywhere.
settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")

# What collecting makes stays until the end. Going through it again and again for garbage takes a
# tenth of the time of the tests.
gc.disable()


def pytest_collection_finish():
    """Leaves what is there now out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """Gives it back, or extension modules report it as leaked when the process ends."""
    gc.unfreeze()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real slides and tiles beside the checkout; skips visibly where it is absent."""
    return _folder_or_skip("data")


@pytest.fixture
def flat_slide(tmp_path):
    """Opens a picture uint8 (h, w, 3) as a slide of one level; mpp None leaves it undeclared."""
    opened = []

    def make(image, mpp=1.0):
        path = tmp_path / f"slide{len(opened)}.png"
        Image.fromarray(image).save(path)
        opened.append(open_slide(path, mpp))
        return opened[-1]

    yield make
    for slide in opened:
        slide.close()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference values of the released slide encoder, beside the checkout."""
    return _folder_or_skip("golden")


def _folder_or_skip(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name} beside the checkout")
    return folder
