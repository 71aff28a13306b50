import dataclasses

import numpy as np
import pytest
from shapely.geometry import box

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.visualisation.heatmaps import (
    GalleryTile,
    Outlines,
    compare_figure,
    extreme_tiles,
    gallery_figure,
    map_figure,
    views,
)

OVERVIEW = np.full((60, 100, 3), 200, np.uint8)
LESION = Outlines("lesions", [box(300, 200, 400, 300)])
VALUES = [2.0, -2.0, 0.5, np.nan, 1.0, -1.0]


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(views, "MAX_SIDE_PX", 200)
    monkeypatch.setattr(views, "LEAST_SIDE_PX", 100)


@pytest.fixture
def maps(tile_map, maps_of):
    return maps_of(
        tile_map([abs(v) for v in VALUES], "control", signed=False, is_evidence=False),
        tile_map([0.1] * 6, "attention", signed=False, unit="share", is_evidence=False),
        tile_map(VALUES),
    )


def test_a_map_says_what_it_is(maps, no_overlap, words):
    figure = map_figure(maps, 2, OVERVIEW, outlines=LESION, caption="says tumour, 0.97")
    no_overlap(figure)
    said = words(figure)
    for text in (
        "S1", "Evidence for “tumour”: what each tile adds to the logit", "for “tumour”", "logits",
        "against “tumour”", "50 µm", "lesions outlined", "says tumour, 0.97", "Colours run from",
        "1 tile without a value",
    ):  # fmt: skip
        assert text in said
    assert "not evidence" not in said


def test_attention_is_where_it_looked_wherever_it_is_shown(maps, words):
    assert "Where it looked, not evidence" in words(map_figure(maps, 1, None))
    assert "A control, not evidence" in words(gallery_figure(maps, 0, [], [], None))
    said = words(compare_figure(maps, [0, 1, 2], OVERVIEW))
    assert "where it looked, not evidence" in said
    assert said.count("not evidence") == 2


def test_what_a_method_cannot_show_is_said(tile_map, maps_of, words):
    said = words(map_figure(maps_of(tile_map(VALUES, "occlusion")), 0, None))
    assert "the others take over when one is gone" in said.replace("\n", " ")


def test_evidence_adds_up_to_the_logit_and_says_with_what(tile_map, maps_of, words):
    """All tiles speak for it, and the bias outweighs them."""
    added = {"sum": 4.5, "counted_from": "zero"}
    one = tile_map([2.0, 1.0, 0.5, np.nan, 0.5, 0.5], **added)
    said = {"S1": {"words": "normal, 0.22", "called": ["normal"], "logits": {"tumour": -1.25}}}
    maps = dataclasses.replace(maps_of(one, tile_map(VALUES, "occlusion")), prediction=said)
    sentence = (
        "Evidence of all tiles: +4.50; of what is no tile (bias, covariates): -5.75; together the "
        "logit: -1.25."
    )
    for figure in (
        map_figure(maps, 0, OVERVIEW),
        gallery_figure(maps, 0, [], [], None),
        compare_figure(maps, [0, 1], None),
    ):
        assert sentence in words(figure).replace("\n", " ")
    assert "together" not in words(map_figure(maps, 1, None))
    relative = tile_map(VALUES, relative=True, **added | {"counted_from": "median of the bag"})
    maps = dataclasses.replace(maps_of(relative), prediction=said)
    assert "together" not in words(map_figure(maps, 0, None))


def test_evidence_of_several_bags_is_added_for_each(tile_map, maps_of, words):
    bags = {f"S1#{i}": {"sum": float(i), "counted_from": "zero"} for i in range(6)}
    said = {name: {"words": "x", "logits": {"tumour": 1.0}} for name in bags}
    maps = dataclasses.replace(maps_of(tile_map(VALUES, bags=bags)), prediction=said)
    text = words(map_figure(maps, 0, None)).replace("\n", " ")
    assert "of all tiles of S1#3: +3.00; of what is no tile (bias, covariates): -2.00;" in text
    assert "S1#4" not in text


@pytest.mark.slow
def test_names_of_120_letters_stay_where_they_belong(tile_map, maps_of, no_overlap):
    long = "W" * 120
    one = dataclasses.replace(tile_map(VALUES, sum=1.0, counted_from="zero"), target=long)
    maps = maps_of(one, dataclasses.replace(one, method=long), slide_id=long)
    outlines = Outlines(long, [box(300, 200, 400, 300)])
    caption = f"The model says: {long}, 0.91.\nThere is no slide {long!r} any more."
    about = {"outlines": outlines, "caption": caption}
    no_overlap(map_figure(maps, 0, OVERVIEW, **about))
    no_overlap(gallery_figure(maps, 0, [GalleryTile(0)], [], OVERVIEW, **about))
    half = np.array([[1, 0.5], [0.5, 1]])
    no_overlap(compare_figure(maps, [0, 1], OVERVIEW, agreement=half, notes=[long, long], **about))


def test_maps_of_risk_raise_and_lower_it(tile_map, maps_of, words):
    said = words(map_figure(maps_of(tile_map(VALUES, relative=True)), 0, None))
    for text in (
        "raises “tumour”",
        "lowers “tumour”",
        "from the slide's median",
        "adds to the output",
    ):
        assert text in said


@pytest.mark.parametrize("size", [(1000, 200), (200, 1000)])
def test_long_slides_keep_their_proportions(tile_map, maps_of, no_overlap, size):
    width, height = size
    one = maps_of(tile_map(VALUES))
    geometry = dataclasses.replace(one.geometry, level0_width=width, level0_height=height)
    coords = np.array([[0, 0], [width - 100, height - 100]] * 3, np.int64)
    maps = dataclasses.replace(one, geometry=geometry, coords=coords)
    figure = map_figure(maps, 0, np.full((height // 5, width // 5, 3), 220, np.uint8))
    no_overlap(figure)
    wide, high = figure.get_size_inches()
    for axes in figure.axes[1:3]:
        frame = axes.get_position()
        assert frame.width * wide / (frame.height * high) == pytest.approx(width / height)


def test_extremes_of_signed_maps_speak_for_and_against(tile_map):
    assert extreme_tiles(tile_map(VALUES), 2) == ([0, 4], [1, 5])
    assert extreme_tiles(tile_map(VALUES), 9) == ([0, 4, 2], [1, 5])
    assert extreme_tiles(tile_map([0.0, 1.0, 1.0]), 2) == ([1, 2], [])


def test_no_tile_is_at_both_ends(tile_map):
    unsigned = tile_map([0.3, np.nan, 0.1, 0.2, 0.2], signed=False)
    assert extreme_tiles(unsigned, 9) == ([0, 3], [2, 4])
    assert extreme_tiles(unsigned, 1) == ([0], [2])
    assert extreme_tiles(tile_map([np.nan]), 1) == ([], [])
    with pytest.raises(ConfigError, match="num_top"):
        extreme_tiles(unsigned, 0)


def test_a_gallery_shows_values_and_places(maps, no_overlap, words):
    top = [GalleryTile(0, np.zeros((8, 8, 3), np.uint8)), GalleryTile(4)]
    figure = gallery_figure(maps, 2, top, [GalleryTile(1)], OVERVIEW, outlines=LESION)
    said = words(figure).split("\n")
    for text in ("+2", "+1", "-2", "300, 200", "400, 300", "Most for “tumour”", "no picture"):
        assert text in said
    # Each number is at its place and at its tile.
    assert [said.count(str(number)) for number in (1, 2)] == [4, 2]
    assert "A tile is 50 µm wide." in words(figure)


def test_a_gallery_needs_no_places(maps, words):
    geometry = dataclasses.replace(maps.geometry, tile_frame="none")
    unplaced = dataclasses.replace(maps, geometry=geometry)
    assert "tile 4" in words(gallery_figure(unplaced, 2, [GalleryTile(4)], [], None))
    with pytest.raises(CoordinateError, match="without places"):
        map_figure(unplaced, 2, OVERVIEW)


def test_methods_are_compared_evidence_first(maps, no_overlap, words):
    agreement = np.array([[1, 0.25, -0.5], [0.25, 1, np.nan], [-0.5, np.nan, 1]])
    figure = compare_figure(
        maps, [0, 1, 2], OVERVIEW, agreement=agreement, notes=["", "", "beats random"]
    )
    no_overlap(figure)
    said = words(figure)
    assert said.index("Evidence") < said.index("Attention") < said.index("Control")
    assert "beats random" in said
    lines = said.split("\n")
    # Rows: attention with evidence has none; control with evidence, control with attention.
    assert [text for text in lines if text in ("0.25", "-0.50", "1.00")] == ["-0.50", "0.25"]
