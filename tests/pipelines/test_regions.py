"""Regions that people draw, from their file to tiles, features and the words of a run."""

import json

import numpy as np
import pytest
import shapely
from PIL import Image
from shapely.geometry import box, mapping

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.records import SlideRow
from slidenet.pipelines.begun.settings_from_identity import settings_from_identity
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.inspection.info import info
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.stores import open_features, read_tile_set, validate_file

SIDE_PX = 512


def feature(polygon, classification=None, **properties):
    properties |= {} if classification is None else {"classification": {"name": classification}}
    return {"type": "Feature", "geometry": mapping(polygon), "properties": properties}


TUMOR = feature(box(10, 0, 210, 200), "Tumor", name="left")
STROMA = feature(box(300, 100, 500, 400), "Stroma", name="right")
FOLD = feature(box(300, 300, 500, 420), "Ignore*")


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """A slide of 512 x 512 px that is tissue all over."""
    path = tmp_path_factory.mktemp("slides") / "a.png"
    pixels = np.random.default_rng(0).integers(90, 200, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return SlideRow("a", str(path), mpp=0.5)


@pytest.fixture
def drawn(tmp_path):
    """Writes the regions of the slide; the folder."""
    folder = tmp_path / "regions"
    folder.mkdir()

    def write(*features):
        (folder / "a.geojson").write_text(json.dumps(features))
        return folder

    return write


@pytest.fixture
def cut(row, layout):
    """Preprocesses the slide; the one outcome and the tiles."""

    def run(regions, *, overwrite=False, **settings):
        asked = PreprocessSettings(
            **{"tile_size_px": 32, "segmenter": "all", "isolate": False, "regions": regions}
            | settings
        )
        report = preprocess([row], layout.root, asked, overwrite=overwrite)
        (outcome,) = report.outcomes
        path = layout.tiles("a")
        done = outcome.status != "failed"
        return report, outcome, read_tile_set(path) if done else None

    return run


def test_each_tile_records_its_class_and_how_much_lies_in_it(cut, drawn, layout):
    report, outcome, tiles = cut(drawn(TUMOR, STROMA, FOLD))
    boxes = shapely.box(*tiles.coords.T, *(tiles.coords + 32).T)
    shapes = [box(300, 100, 500, 300), box(10, 0, 210, 200)]
    wanted = np.stack([shapely.area(shapely.intersection(s, boxes)) for s in shapes]) / 32**2
    assert tiles.regions.names == ("Stroma", "Tumor")
    np.testing.assert_array_equal(tiles.regions.index, wanted.argmax(axis=0))
    np.testing.assert_allclose(tiles.regions.share, wanted.max(axis=0), rtol=1e-6)
    assert wanted.max(axis=0).min() >= 0.1
    counts = tiles.regions.counts()
    assert f"{tiles.num_tiles} kept ({counts['Stroma']} Stroma, {counts['Tumor']} Tumor)" in (
        outcome.detail
    )
    assert report.notes[0] == (
        f"tiles by class: Stroma {counts['Stroma']} (1 slide), Tumor {counts['Tumor']} (1 slide)"
    )
    assert validate_file(layout.tiles("a")) == []
    picture = np.asarray(Image.open(layout.overlay("a"))).astype(int)
    assert (picture[60, :, 2] - picture[60, :, 0]).max() < 120
    stroma = picture[198:204, :, 2] - picture[198:204, :, 0]
    assert stroma[:, 296:304].max() > 60, "a blue line along the left of Stroma"


@pytest.mark.slow
def test_done_again_only_where_the_drawing_or_the_choice_changed(cut, drawn):
    folder = drawn(TUMOR, STROMA)
    _, _, first = cut(folder, region_classes=["Tumor", "Stroma"])
    report, outcome, _ = cut(folder, region_classes=["Stroma", "Tumor"])
    assert outcome.status == "already done"
    assert report.notes[0].startswith("tiles by class: Stroma")
    assert "regions.classes" in cut(folder, region_classes=["Tumor"])[1].detail
    assert "regions.by" in cut(folder, region_by="name")[1].detail
    detail = cut(folder, region_classes=["Tumor", "Stroma"], min_region_fraction=0.5)[1].detail
    assert "regions.min_region_fraction: 0.1 -> 0.5" in detail
    drawn(TUMOR, feature(box(300, 100, 500, 401), "Stroma"))
    assert "regions.inputs.regions" in cut(folder, region_classes=["Tumor", "Stroma"])[1].detail
    assert "regions.by: 'class' -> None" in cut(None)[1].detail
    _, outcome, tiles = cut(None, overwrite=True)
    assert tiles.regions is None
    assert "regions" not in tiles.identity
    assert tiles.num_tiles == 256 > first.num_tiles


@pytest.mark.parametrize(
    ("features", "settings", "message"),
    [
        ([TUMOR, STROMA], {"region_classes": ["Tumour"]}, "no region of the class 'Tumour'; its "
         "classes: 'Stroma', 'Tumor'"),
        ([TUMOR, feature(box(20, 20, 90, 90), "Necrosis")], {}, "Necrosis and Tumor overlap"),
        ([], {}, "holds no region"),
        ([feature(box(5000, 0, 6000, 9), "Tumor")], {}, "covers nothing of the slide"),
        ([feature(shapely.Point(99, 99).buffer(2), "Tumor")], {}, "no tile is left (256 in grid, "
         "256 on tissue, 0 in regions"),
        ([TUMOR], {"region_by": "core"}, "holds 1 annotation"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_failed_slide(cut, drawn, features, settings, message):
    _, outcome, _ = cut(drawn(*features), **settings)
    assert outcome.status == "failed"
    assert outcome.detail.startswith("slide 'a': ")
    assert message in outcome.detail
    assert outcome.traceback is None


def test_a_class_that_no_slide_has_is_said_at_the_end(cut, drawn):
    report, outcome, _ = cut(drawn(TUMOR), region_classes=["Tumor", "Stromma"])
    assert "warning: no region of the class 'Stromma' (there are 'Tumor')" in outcome.detail
    assert "no slide has a region of the class 'Stromma'" in report.notes[1]


def core(x, name, missing=False):
    spot = shapely.Point(x, 200).buffer(70)
    named = {} if name is None else {"name": name}
    return feature(spot, objectType="tma_core", isMissing=missing, **named)


def test_one_region_per_core(cut, drawn):
    tiny = feature(box(0, 500, 2, 502), objectType="tma_core", name="A-5")
    cores = [core(80, "A-1"), core(230, None), core(400, "A-3", missing=True), tiny]
    report, outcome, tiles = cut(drawn(*cores, TUMOR), region_by="core")
    assert tiles.regions.names == ("A-1", "core 2", "A-5")
    assert tiles.regions.by == "core"
    assert tiles.coords[:, 0].max() < 300
    for words in ("1 core without a name called core 2", "1 core left out (missing or excluded)",
                  "no tile lies in A-5"):  # fmt: skip
        assert f"warning: {words}" in outcome.detail
    assert report.notes[0] == f"{tiles.num_tiles} tiles in 3 cores of 1 slide"


def test_no_file_for_the_slide(cut, tmp_path):
    _, outcome, _ = cut(tmp_path)
    assert "one file of drawn regions per slide in --regions" in outcome.detail


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": "nowhere"}, "regions is nowhere, which is no folder"),
        ({"region_classes": ["a"]}, r"region_classes is \['a'\] without --regions"),
        ({"region_by": "core"}, "region_by is 'core' without --regions"),
        ({"regions": ".", "region_classes": "Tumor"}, "is the text 'Tumor'; expected a list"),
        ({"regions": ".", "region_classes": []}, "is an empty list"),
        ({"regions": ".", "region_by": "color"}, "region_by is 'color'; expected one of class"),
        ({"regions": ".", "min_region_fraction": 1.5}, "min_region_fraction is 1.5"),
        ({"regions": ".", "region_by": "core", "region_classes": ["a"]}, "with --region-by core"),
    ],
)
def test_wrong_settings_are_refused_before_any_slide(row, layout, settings, message):
    with pytest.raises(ConfigError, match=message):
        preprocess([row], layout.root, **settings)
    assert not layout.root.exists()


def test_info_counts_tiles_in_regions(row, drawn):
    folder = drawn(TUMOR, STROMA)
    facts = dict(info(row.slide_path, mpp=0.5, tile_size_px=32, segmenter="all", regions=folder,
                      isolate=False).rows)  # fmt: skip
    assert facts["regions"] == "Stroma 70, Tumor 49"
    assert facts["tiles"].startswith("about 119 of 32 px")


@pytest.mark.slow
def test_features_know_the_regions_and_new_slides_are_refused(
    cut, drawn, row, layout, colour_encoder
):
    _, _, tiles = cut(drawn(TUMOR, STROMA), region_by="name")
    settings = EmbedTilesSettings(batch_size=16, isolate=False)
    embed_tiles([row], layout.root, settings, tile_encoder=colour_encoder)
    file = open_features(layout.features("a", "colour"))
    assert file.region_names == tiles.regions.names == ("left", "right")
    np.testing.assert_array_equal(file.regions.index, tiles.regions.index)
    np.testing.assert_array_equal(file.regions.share, tiles.regions.share)
    assert validate_file(file.path) == []
    with pytest.raises(IdentityMismatchError, match=r"regions that a person drew.*--regions"):
        settings_from_identity(file.cohort_identity, source="model.slidenet")
