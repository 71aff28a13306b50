"""What tiles were begun with is asked of each file once, in this process and in later ones."""

import json
import os
import shutil

import pytest

from slidenet.pipelines.begun import origins as room
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.stores import TilesOrigin


@pytest.fixture
def asked(monkeypatch):
    """Names of the files that were opened; every one is remembered."""
    names = []

    def ask(path):
        names.append(path.stem)
        return TilesOrigin(2, "otsu" if "o" in path.stem else None, len(path.read_bytes()))

    monkeypatch.setattr(room, "tiles_origin", ask)
    monkeypatch.setattr(room, "LEAST_NEW", 1)
    return names


@pytest.fixture
def folder(tmp_path):
    layout = OutputLayout(tmp_path)
    layout.tiles("x").parent.mkdir()
    for name in ("one", "two", "six"):
        layout.tiles(name).write_text(name)
    return layout


def forget(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(room, "_known", {})
    monkeypatch.setattr(room, "_recalled", set())


def found(layout):
    return {name: (o.segmenter, o.num_tiles) for name, o in room.origins(room.tile_files(layout))}


def test_each_file_is_asked_once(folder, asked, monkeypatch):
    forget(monkeypatch)
    expected = {"one": ("otsu", 3), "six": (None, 3), "two": ("otsu", 3)}
    assert found(folder) == found(folder) == expected
    forget(monkeypatch)
    assert found(folder) == expected
    assert room.origin_of(folder.tiles("six")).num_tiles == 3
    assert asked == ["one", "six", "two"]


def test_a_file_that_was_replaced_is_asked_again(folder, asked, monkeypatch):
    forget(monkeypatch)
    found(folder)
    path = folder.tiles("six")
    times = path.stat()
    path.write_text("SIX")  # of the same size, and it says that it is as old
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.copy2(folder.tiles("two"), folder.tiles("new"))
    forget(monkeypatch)
    asked.clear()
    assert set(found(folder)) == {"one", "six", "two", "new"}
    assert asked == ["new", "six"]


@pytest.mark.parametrize(
    "memory",
    ["", "{", "[]", "null", '{"version": 1}', '{"version": 2, "files": {}}', "[" * 5000,
     '{"version": 1, "files": []}', '{"version": 1, "files": {"six.h5": [[1, 2], 3]}}'],
)  # fmt: skip
def test_a_damaged_memory_is_none(folder, asked, monkeypatch, memory):
    forget(monkeypatch)
    (folder.tiles("x").parent / room.MEMORY_NAME).write_text(memory)
    assert len(found(folder)) == 3
    assert asked == ["one", "six", "two"]
    written = json.loads((folder.tiles("x").parent / room.MEMORY_NAME).read_text())
    assert set(written["files"]) == {"one.h5", "six.h5", "two.h5"}
