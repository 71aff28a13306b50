"""Tiles that export-tiles cannot read: counted, limited, and read again by the next run."""

import json

import pytest

import slidenet

pytestmark = pytest.mark.slow
TILING = {"segmenter": "all", "tile_size_px": 64, "target_mpp": 0.5, "mpp": 0.5, "isolate": False}


@pytest.fixture(params=["folder", "shards"])
def export(request, noise_path, tmp_path):
    slidenet.preprocess([noise_path], tmp_path / "out", drop_blank=False, **TILING)

    def run(name, **settings):
        settings = {"shards": request.param == "shards", "shard_mb": 0.2, **settings}
        report = slidenet.export_tiles(
            [noise_path], tmp_path / "out", to=tmp_path / name, isolate=False, **settings
        )
        return report.outcomes[0]

    return run


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_lost_tiles_are_read_again_and_nothing_tells_that_they_were(export, disk, tmp_path):
    assert export("whole").status == "done"
    disk.lost = {20, 63}
    first = export("hurt", max_unreadable=0.05)
    assert (first.status, first.num_tiles, first.num_unreadable) == ("done", 62, 2)
    disk.asked.clear()
    again = export("hurt", max_unreadable=0.05)
    assert (again.status, again.num_unreadable) == ("already done", 2)
    assert sorted(disk.asked) == [20, 63]
    disk.lost = {63}
    part = export("hurt")
    assert (part.status, part.num_tiles, part.num_unreadable) == ("done", 63, 1)
    disk.lost = set()
    assert (export("hurt").status, export("hurt").status) == ("done", "already done")
    assert content(tmp_path / "hurt") == content(tmp_path / "whole")


def test_beyond_the_limit_the_export_fails_and_the_next_run_heals_it(export, disk, tmp_path):
    export("whole")
    disk.lost = {1, 40}
    failed = export("hurt")
    assert failed.status == "failed"
    assert "2 of its 64 tiles could not be read: tile 1 is on a bad sector" in failed.detail
    disk.lost = set()
    assert export("hurt").status == "done"
    assert content(tmp_path / "hurt") == content(tmp_path / "whole")


def test_a_slide_without_a_readable_tile_is_not_exported(export, disk, tmp_path):
    disk.lost = set(range(64))
    assert "none of its 64 tiles could be read" in export("hurt", max_unreadable=1).detail
    records = [json.loads(path.read_text()) for path in (tmp_path / "hurt").rglob("*.json")]
    assert not any(record["complete"] for record in records)
