"""Which segmenter a run gets, with which settings."""

import dataclasses
import re

import h5py
import numpy as np
import pytest

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.records import SlideMpp, SlideRow, TileGeometry, TileSet
from slidenet.pipelines.begun.settings_from_identity import settings_from_identity
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import PreprocessSettings, SegmenterSettings
from slidenet.pipelines.tissue.segmenter import (
    SEGMENTER_FLAGS,
    segmenter_of,
    settings_of_folder,
)
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.stores import read_tile_set, validate_file, write_tile_set
from slidenet.tissue import DEFAULT_SEGMENTER, SEGMENTERS, OtsuSegmenter, segmenter_identity
from slidenet.tissue.segmenters.registry import setting_names

GEOMETRY = TileGeometry(SlideMpp(0.5, "override"), 0.5, 0.5, 0, 256, 256, 256, 4000, 4000)
ROWS = [SlideRow("a", "a.svs"), SlideRow("b", "b.svs")]
GUEST = {"segmenter": "dark", "plugin": {"code": "guest.segmenters:Dark"}}


@pytest.fixture
def folder(tmp_path):
    """An output folder that holds a tile set of each of these slides, by its tissue identity."""
    layout = OutputLayout(tmp_path)

    def with_tiles(**tissue):
        for slide_id, identity in tissue.items():
            tiles = TileSet(slide_id, "x.svs", "f", GEOMETRY, np.zeros((1, 2), np.int64),
                            np.ones(1, np.float32), {"tissue": identity})  # fmt: skip
            write_tile_set(layout.tiles(slide_id), tiles)
        return layout

    return with_tiles


BY_FLAGS = [name for name in SEGMENTERS if name != "model"]
"""Those of `model` that few people need are given as --segmenter-settings."""


@pytest.mark.parametrize("name", BY_FLAGS)
def test_every_setting_of_a_segmenter_is_a_flag(name):
    """Add a new setting to `SegmenterSettings` (slidenet/pipelines/settings.py), with its help."""
    assert set(setting_names(name)) <= set(SEGMENTER_FLAGS)
    for flag in SEGMENTER_FLAGS:
        assert re.search(rf"^ {{8}}{flag}: ", SegmenterSettings.__doc__, re.M), f"{flag}: no help"


def test_the_help_of_segmenter_names_each_and_the_default():
    text = re.search(r" {8}segmenter: (.*?)\n {8}segment_mpp", SegmenterSettings.__doc__, re.S)[1]
    words = " ".join(text.split())
    assert all(re.search(rf"\b{name}\b \(", words) for name in SEGMENTERS), words
    assert words.endswith(f"else {DEFAULT_SEGMENTER}.")


def test_every_flag_is_a_setting_of_some_segmenter():
    assert set(SEGMENTER_FLAGS) <= {s for name in SEGMENTERS for s in setting_names(name)}


@pytest.mark.parametrize("name", BY_FLAGS)
def test_flags_reach_the_segmenter_and_come_back_from_its_identity(name):
    settings = {}
    for field in dataclasses.fields(SEGMENTERS[name]):
        whole = field.default is None or isinstance(field.default, int)
        settings[field.name] = 7 if whole else field.default + 0.25
    made = segmenter_of(SegmenterSettings(segmenter=name, **settings))
    assert made == SEGMENTERS[name](**settings)
    identity = {
        "tiles": {
            "target_mpp": 0.5, "tile_size_px": 256, "stride_px": 256, "min_tissue_fraction": 0.1,
            "icc": False, "filters": [], "tissue": segmenter_identity(made),
        },
        "tile_encoder": {"encoder": "efficientnet_lite0", "precision": "fp32"},
        "feature_dtype": "float16",
    }  # fmt: skip
    tiling, _ = settings_from_identity(identity, source="model.slidenet")
    assert segmenter_of(tiling) == made
    as_cut = {**identity, "tiles": {**identity["tiles"], "tissue": {"segmenter": "as_cut"}}}
    tiling, _ = settings_from_identity(as_cut, source="model.slidenet")
    assert (tiling.segmenter, tiling.target_mpp) == (None, 0.5)
    drawn = {**identity, "tiles": {**identity["tiles"], "tissue": {"segmenter": "geojson"}}}
    with pytest.raises(IdentityMismatchError, match="drawn annotations"):
        settings_from_identity(drawn, source="model.slidenet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"segmenter": "otsu", "closing_um": 3.0},
            "closing_um is 3.0, and the segmenter 'otsu' has no such setting; expected some of "
            "--segment-mpp, --smooth-um, --min-contrast",
        ),
        (
            {"segmenter": "all", "min_area_um2": 3.0},
            "no settings with this segmenter.*or pass --segmenter model or",
        ),
        (
            {"segmenter": "otsu", "smooth_um": 3.0, "segmenter_settings": {"smooth_um": 4.0}},
            "smooth_um is 3.0 and, in --segmenter-settings, 4.0; expected one of the two",
        ),
        (
            {"segmenter": "otsu", "segmenter_settings": {"width": 4.0}},
            "the segmenter 'otsu' has no setting 'width'; expected some of segment_mpp",
        ),
        ({"segmenter_settings": [1]}, r"segmenter_settings is \[1\]; expected a mapping"),
        ({"segmenter": "otsu", "min_contrast": float("nan")}, "min_contrast is nan"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        segmenter_of(PreprocessSettings(**settings))


def test_settings_of_other_packages_come_as_a_mapping():
    given = {"segmenter": "otsu", "segmenter_settings": {"smooth_um": 0.0}}
    assert segmenter_of(PreprocessSettings(**given)).smooth_um == 0


@pytest.mark.parametrize(
    ("there", "asked", "overwrite", "wanted"),
    [
        ({}, None, False, DEFAULT_SEGMENTER),
        ({}, "saturation", False, "saturation"),
        ({"a": {"segmenter": "saturation"}}, None, False, "saturation"),
        ({"z": {"segmenter": "otsu"}}, None, False, "otsu"),
        ({"a": {"segmenter": "saturation"}}, "all", False, "all"),
        ({"a": {"segmenter": "saturation"}}, None, True, DEFAULT_SEGMENTER),  # made anew
        ({"z": {"segmenter": "geojson"}}, None, False, DEFAULT_SEGMENTER),  # drawn by hand
        ({"z": {}}, None, False, DEFAULT_SEGMENTER),
    ],
)
def test_a_folder_goes_on_as_it_was_begun(folder, caplog, there, asked, overwrite, wanted):
    settings = PreprocessSettings(segmenter=asked)
    found = settings_of_folder(settings, folder(**there), ROWS, overwrite=overwrite)
    assert found == PreprocessSettings(segmenter=wanted)
    said = [r.message for r in caplog.records if "was begun with the segmenter" in r.message]
    assert len(said) == (asked is None and wanted != DEFAULT_SEGMENTER)


def test_slides_of_the_run_that_are_there_decide(folder, caplog):
    layout = folder(a={"segmenter": "otsu"}, y={"segmenter": "saturation"}, z=GUEST)
    found = settings_of_folder(PreprocessSettings(), layout, ROWS)
    assert found.segmenter == "otsu"
    (said,) = caplog.messages
    assert "with the segmenter otsu" in said
    assert said.endswith("not of this run have guest.segmenters:Dark, saturation")
    with pytest.raises(IdentityMismatchError, match="several segmenters"):
        settings_of_folder(PreprocessSettings(), layout, ROWS, overwrite=True)  # only y, z are left
    with pytest.raises(IdentityMismatchError, match=r"several segmenters \(otsu: a; saturation: y"):
        settings_of_folder(PreprocessSettings(), layout, [*ROWS, SlideRow("y", "y.svs")])


def test_several_segmenters_and_those_of_others_must_be_named(folder):
    with pytest.raises(
        IdentityMismatchError, match=r"code of others.*--segmenter guest\.seg.*Dark"
    ):
        settings_of_folder(PreprocessSettings(), folder(a=GUEST), ROWS)
    layout = folder(b={"segmenter": "otsu"})
    layout.tiles("broken").write_bytes(b"no h5")  # is told when its turn is
    with h5py.File(layout.tiles("foreign"), "w") as file:
        file["coords"] = np.zeros((1, 2))
    message = r"several segmenters \(guest\.segmenters:Dark: a; otsu: b\).*--segmenter otsu"
    drawn = PreprocessSettings(tissue_geojson=layout.root)
    assert settings_of_folder(drawn, layout, ROWS) == drawn
    with pytest.raises(IdentityMismatchError, match=message):
        settings_of_folder(PreprocessSettings(), layout, ROWS)


def test_the_doubt_of_a_tile_set_is_kept(folder):
    path = folder(a={"segmenter": "otsu"}).tiles("a")
    tiles = read_tile_set(path)
    assert tiles.tissue_doubt is None
    write_tile_set(path, dataclasses.replace(tiles, tissue_doubt=0.25))
    assert read_tile_set(path).tissue_doubt == 0.25
    assert validate_file(path) == []
    for doubt, problem in ((2.0, "is outside [0, 1]"), ("much", "expected a finite number")):
        with h5py.File(path, "r+") as file:
            file["slidenet"].attrs["tissue_doubt"] = doubt
        assert problem in validate_file(path)[0]


@pytest.mark.parametrize(
    ("finds_pale", "given", "wanted"),
    [
        (False, {}, True),
        (True, {}, False),
        (True, {"drop_blank": True}, True),
        (False, {"drop_blank": False}, False),
    ],
)
def test_pale_tissue_is_not_dropped_for_being_white(
    monkeypatch, tmp_path, finds_pale, given, wanted
):
    monkeypatch.setattr(OtsuSegmenter, "finds_pale", finds_pale)
    tiler = Tiler.of(PreprocessSettings(segmenter="otsu", **given))
    assert tiler.settings.drop_blank is wanted
    assert [f.name for f in tiler.filters] == ["blank"] * wanted
    asked = PreprocessSettings(tissue_geojson=tmp_path)
    assert Tiler.of(asked).settings.drop_blank, "as before"
    with pytest.raises(ConfigError, match="segmenter is 'otsu' with --tissue-geojson; expected on"):
        Tiler.of(dataclasses.replace(asked, segmenter="otsu"))
