"""A reader that misbehaves on request: the slide is a text file that names the fault."""

import sys

import pytest

READER = """
import ctypes, logging, os, sys, time
import numpy as np
from slidenet.core.errors import PixelReadError, UnreadableSlideError
from slidenet.slides import SlideReader

class Faulty(SlideReader):
    name = "faulty"
    suffixes = (".fault",)

    def __init__(self, path, mpp=None, icc=False):
        super().__init__(path, mpp, icc)
        self.fault, _, self.when = path.read_text().partition(" ")
        self.level_dimensions, self.level_downsamples = ((64, 64),), (1.0,)
        if self.when == "open":
            self.misbehave()

    @classmethod
    def can_read(cls, path):
        return path.suffix == ".fault"

    def misbehave(self):
        if self.fault == "abort":
            print("GLib-ERROR: the list is corrupt", file=sys.stderr, flush=True)
            os.abort()
        if self.fault == "segfault":
            ctypes.string_at(0)
        if self.fault == "exit":
            os._exit(3)
        if self.fault == "loop":
            while True:
                pass
        if self.fault == "sleep":
            time.sleep(60)
        if self.fault == "memory":
            np.ones(10**9, np.uint8)
        if self.fault == "out-of-memory-abort":
            print("GLib-ERROR: failed to allocate 99 bytes", file=sys.stderr, flush=True)
            os.abort()
        if self.fault == "oserror":
            raise OSError(5, "Input/output error")
        if self.fault == "bug":
            raise KeyError("no such tag")
        if self.fault == "unreadable":
            raise PixelReadError("cannot be decoded", slide=self.path.name)
        if self.fault == "warns":
            logging.getLogger("slidenet.slides.faulty").warning("level 3 is %s", "odd")

    def read_region(self, location, level, size):
        if self.when == "read":
            self.misbehave()
        return np.full((size[1], size[0], 3), os.getpid() % 251, np.uint8)

    def close(self):
        pass
"""


@pytest.fixture(scope="session")
def _reader_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    (folder / "faulty_reader.py").write_text(READER)
    return folder


@pytest.fixture
def faulty(_reader_folder, tmp_path, monkeypatch):
    """Writes a slide with a fault; gives its path and the name of the reader."""
    monkeypatch.syspath_prepend(_reader_folder)
    monkeypatch.delitem(sys.modules, "faulty_reader", raising=False)

    def write(fault, when="read"):
        path = tmp_path / f"{fault}.fault"
        path.write_text(f"{fault} {when}")
        return path, "faulty_reader:Faulty"

    return write
