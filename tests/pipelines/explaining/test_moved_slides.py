"""explain beside slides that are there, that have gone, and that have come back."""

import json
import re

import pytest
import torch

from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.explain import explain
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.stores import open_features, read_tile_maps
from slidenet.tasks import BinaryTask
from slidenet.testing import write_synthetic_slide
from slidenet.training import SlideClassifier, save_bundle

pytestmark = pytest.mark.slow


def test_pictures_show_the_slide_where_it_is_and_say_where_it_is_not(tmp_path, colour_encoder):
    slide = tmp_path / "one.tiff"
    write_synthetic_slide(slide, 512, 512, 0.5, seed=0)
    table = tmp_path / "slides.csv"
    table.write_text(f"slide_id,slide_path\none,{slide}\n")
    made = tmp_path / "made"
    preprocess(table, made, PreprocessSettings(tile_size_px=128, segmenter="all"))
    embed_tiles(table, made, EmbedTilesSettings(isolate=False), tile_encoder=colour_encoder)
    features = made / "tile_features" / "colour"
    file = open_features(features / "one.h5")
    torch.manual_seed(0)
    module = SlideClassifier(
        BinaryTask(("label",), ("normal", "tumour")), file.feature_dim, "mean",
        feature_scaling="none",
    )  # fmt: skip
    save_bundle(tmp_path / "m.slidenet", module, features_identity=file.cohort_identity)

    def run(out):
        report = explain(
            tmp_path / "m.slidenet", table, out, features=features, device="cpu", controls=False,
            methods=["evidence"], formats=["galleries", "geojson"], num_top=2,
        )  # fmt: skip
        return report.stages[-1].outcomes[0]

    first = run(tmp_path / "out")
    assert (first.status, first.detail.split("; ")[1:]) == ("done", ["evidence"])
    folder = tmp_path / "out" / "explanations"
    assert json.loads((folder / "geojson" / "one.geojson").read_text())["slidenet"]["frame"] == (
        "qupath"
    )
    maps = read_tile_maps(folder / "h5" / "one.h5")
    assert (maps.slide_path, maps.fingerprint) == (str(slide), file.fingerprint)
    gallery = folder / "galleries" / "one.png"
    with_slide = gallery.read_bytes()

    moved = slide.rename(tmp_path / "elsewhere.tiff")
    assert run(tmp_path / "out").status == "already done"
    assert gallery.read_bytes() == with_slide, "what was drawn with the slide is better"
    alone = run(tmp_path / "alone")
    assert alone.status == "done"
    assert re.search(r"There is no slide 'one.tiff' any more; .*level-0 pixels", alone.detail)
    write_synthetic_slide(slide, 512, 512, 0.5, seed=1)
    other = run(tmp_path / "other")
    assert "it is another file than the one its features were made from" in other.detail

    slide.unlink()
    moved.rename(slide)
    again = run(tmp_path / "alone")
    assert (again.status, again.detail.split("; ")[1:]) == ("done", ["evidence"])
    found = tmp_path / "alone" / "explanations" / "galleries" / "one.png"
    assert found.read_bytes() == with_slide
