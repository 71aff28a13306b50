"""Fixtures every room shares."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time: a test that fails somewhere fails everywhere.
settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real slides and tiles beside the checkout; skips visibly where it is absent."""
    return _folder_or_skip("data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference values of the released slide encoder, beside the checkout."""
    return _folder_or_skip("golden")


def _folder_or_skip(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name} beside the checkout")
    return folder
