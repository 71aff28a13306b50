"""A slide that crashes a library is one failed slide of a cohort."""

import json

import pytest

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, OpeningSettings
from slidenet.slides.isolation import can_isolate
from slidenet.slides.limits import LIMITS

READER = """
import os, sys, time
from slidenet.slides.readers.openslide import OpenSlideReader

class Crashing(OpenSlideReader):
    name = "crashing"

    def read_region(self, location, level, size):
        if self.path.stem == "bad":
            print("library: assertion failed", file=sys.stderr, flush=True)
            os.abort()
        if self.path.stem == "slow":
            time.sleep(60)
        return super().read_region(location, level, size)
"""


@pytest.mark.slow
def test_an_abort_and_a_hang_are_failed_slides(
    slide_path, small_tiles, layout, tmp_path, monkeypatch
):
    (tmp_path / "crashing_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    rows = [SlideRow("a", str(slide_path))]
    for name in ("bad", "slow"):
        (tmp_path / f"{name}.tiff").symlink_to(slide_path)
        rows.append(SlideRow(name, str(tmp_path / f"{name}.tiff")))
    rows.append(SlideRow("c", str(slide_path)))
    report = preprocess(
        rows, layout.root, small_tiles, reader="crashing_reader:Crashing", slide_timeout=6
    )
    assert [o.status for o in report.outcomes] == ["done", "failed", "failed", "done"]
    assert "slide 'slow': the work on it took more than 6 s, and had " in report.failed[1].detail
    assert report.failed[0].detail.startswith(
        "slide 'bad': a library crashed on it (SIGABRT: library: assertion failed); expected"
    )
    assert report.exit_code == 1
    written = json.loads((layout.root / "run.json").read_text())
    assert written["stages"]["preprocess"]["num_failed"] == 2


def test_limits_are_settings():
    settings = EmbedTilesSettings(isolate=False, memory_limit_gb=2.5, cpu_limit_s=60)
    opened = settings.how_to_open()
    assert opened["isolate"] is False
    assert opened["limits"].max_memory_bytes == 2_500_000_000
    assert opened["limits"].max_open_cpu_s == 60
    assert OpeningSettings().how_to_open()["limits"] == LIMITS
    with pytest.raises(ConfigError, match="memory_limit_gb is 0; expected a finite number above 0"):
        OpeningSettings(memory_limit_gb=0).how_to_open()
    with pytest.raises(ConfigError, match="slide_timeout is 0; expected a finite number above 0"):
        OpeningSettings(slide_timeout=0).how_to_open()


def test_where_no_process_can_be_limited(monkeypatch, caplog):
    monkeypatch.setattr("slidenet.slides.isolation.pool.os.name", "nt")
    with pytest.raises(ConfigError, match=r"on this system \(nt\)"):
        OpeningSettings(isolate=True).how_to_open()
    caplog.set_level("INFO")
    assert OpeningSettings(isolate=can_isolate()).how_to_open()["isolate"] is False  # the default
    assert "slides are read in this process" in caplog.text
