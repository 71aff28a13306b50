"""A disk that fails for a while, anywhere in the work on a cohort, leaves no trace behind."""

import errno
import hashlib

import pytest

import slidenet
from slidenet.slides.readers.tiled.storage import StoredBytes
from slidenet.testing import write_synthetic_slide

pytestmark = pytest.mark.slow


class Disk:
    """Counts reads, and fails those from one number on until another one."""

    def __init__(self, monkeypatch):
        self.count, self.first, self.last = 0, 0, -1
        read_at = StoredBytes._read_at

        def read(stored, offset, count):
            self.count += 1
            if self.first <= self.count <= self.last:
                raise OSError(errno.EIO, "Input/output error")
            return read_at(stored, offset, count)

        monkeypatch.setattr(StoredBytes, "_read_at", read)


def run(paths, out, encoder):
    """All three steps; the number of slides that failed in any."""
    tiles = {"tile_size_px": 64, "target_mpp": 1.0, "segmenter": "otsu", "drop_blurred": True}
    reports = [
        slidenet.preprocess(paths, out, isolate=False, **tiles),
        slidenet.embed_tiles(
            paths, out, tile_encoder=encoder, isolate=False, batch_size=16, num_readers=1
        ),
        slidenet.embed_slides(paths, out, encoder="colour", recipe="mean"),
    ]
    return sum(report.exit_code for report in reports)


def content(out):
    files = (path for path in out.rglob("*") if path.is_file() and "run" not in path.name)
    return {
        path.relative_to(out): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parent.name != "runs"
    }


def test_an_outage_of_reads_is_healed_by_the_next_run(tmp_path, monkeypatch, colour_encoder):
    paths = [tmp_path / f"{name}.tiff" for name in "ab"]
    for seed, path in enumerate(paths):
        write_synthetic_slide(path, 1024, 1024, 0.5, seed=seed)
    disk = Disk(monkeypatch)
    assert run(paths, tmp_path / "whole", colour_encoder) == 0
    num_reads, wanted = disk.count, content(tmp_path / "whole")
    seen = set()
    for number, share in enumerate((0.02, 0.3, 0.55, 0.85)):
        out = tmp_path / str(number)
        disk.count, disk.first = 0, max(1, round(share * num_reads))
        disk.last = disk.first + 100
        seen.add(run(paths, out, colour_encoder) > 0)
        disk.first, disk.last = 0, -1
        assert run(paths, out, colour_encoder) == 0
        assert content(out) == wanted, f"an outage from read {round(share * num_reads)} on"
    assert seen >= {True}, "some outages were felt"
