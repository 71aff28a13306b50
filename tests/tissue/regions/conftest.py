"""A slide double, and files of regions from documents."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def canvas():
    """As much of a slide as regions ask for; `bounds` are (x, y, width, height)."""

    def make(width=1000, height=800, bounds=None):
        names = [f"openslide.bounds-{what}" for what in ("x", "y", "width", "height")]
        properties = dict(zip(names, map(str, bounds or ()), strict=False))
        return SimpleNamespace(
            path=Path("slide.tif"), level_dimensions=((width, height),), properties=properties
        )

    return make


@pytest.fixture
def saved(tmp_path):
    """Writes a document (JSON, text or bytes) and gives its path."""

    def save(document, name="drawn.geojson"):
        path = tmp_path / name
        if not isinstance(document, bytes):
            text = document if isinstance(document, str) else json.dumps(document)
            document = text.encode()
        path.write_bytes(document)
        return path

    return save
