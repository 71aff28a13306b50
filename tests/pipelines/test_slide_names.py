"""Slides with any lawful name go through every verb, and are found where pages and tables say."""

import csv
import re
from urllib.parse import unquote

import pytest

from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.export_tiles import export_tiles
from slidenet.pipelines.inspection.validate import validate
from slidenet.pipelines.preprocess import preprocess
from slidenet.testing import write_synthetic_slide

NAMES = ["a b", "\u00e9\u75c5", "\U0001f600", "a#b%20c", "--out", "=1+1", "a&lt;'b", "a[0]{1}",
         "index", "x.h5.tmp", "x" * 200]  # fmt: skip


@pytest.mark.slow
def test_any_lawful_name_goes_through_every_verb(tmp_path, colour_encoder):
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    write_synthetic_slide(tmp_path / "slide.tiff", 256, 256, 0.5, seed=3)
    for name in NAMES:
        (slides / f"{name}.tiff").hardlink_to(tmp_path / "slide.tiff")
    reports = [
        preprocess(slides, out, tile_size_px=128, isolate=False),
        embed_tiles(slides, out, tile_encoder=colour_encoder, isolate=False),
        embed_slides(slides, out, encoder="colour", recipe="mean"),
        export_tiles(slides, out, isolate=False),
        export_tiles(slides, out, to=tmp_path / "shards", shards=True, isolate=False),
        validate([out]),
    ]
    assert [report.exit_code for report in reports] == [0] * 6
    pictures = re.findall('src="(.*?)"', (out / "overlays" / "index.html").read_text())
    assert len(pictures) == len(NAMES)
    assert all((out / "overlays" / unquote(name)).is_file() for name in pictures)
    with (out / "tissue.csv").open(encoding="utf-8", newline="") as file:
        ids = {row["slide_id"].removeprefix("'") for row in csv.DictReader(file)}
    assert ids == set(NAMES)
    again = preprocess(out / "tile_images", tmp_path / "again", segmenter="all", isolate=False)
    assert sorted(outcome.slide_id for outcome in again.outcomes) == sorted(NAMES)
    assert again.exit_code == 0
