import numpy as np
from matplotlib.text import Text

from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.feature_space.palette import palette
from slidenet.visualisation.feature_space.scatter import (
    MISSING_RGB,
    coloured_by_group,
    coloured_by_number,
    layout_figure,
    middles,
)
from slidenet.visualisation.feature_space.slide import paint_tiles, slide_figure
from slidenet.visualisation.feature_space.tile_rows import TilePicture, TileRow, rows_figure
from slidenet.visualisation.heatmaps.views import view_of
from slidenet.visualisation.maps import PAPER_RGB

GEOMETRY = TileGeometry(SlideMpp(0.5, "override"), 0.5, 0.5, 0, 64, 64, 64, 640, 320)
COORDS = np.array([[64 * (i % 8), 64 * (i // 8)] for i in range(24)], np.int64)
PLACES = TileMaps("slide_1", "", "", GEOMETRY, COORDS, (), {})


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_colours_differ_and_the_first_stay_as_more_are_asked_for():
    many = palette(20)
    assert len({tuple(colour) for colour in many.tolist()}) == 20
    np.testing.assert_array_equal(palette(3), many[:3])
    assert palette(0).shape == (0, 3)


def test_tiles_are_painted_where_they_lie_and_unreadable_ones_hatched():
    view = view_of(PLACES, None)
    colours = np.tile(np.arange(24, dtype=np.uint8)[:, None] * 10, 3)
    mask = np.arange(24) != 5
    picture = paint_tiles(colours, COORDS, view, mask)
    for tile, (left, top, right, bottom) in enumerate(view.boxes(COORDS).tolist()):
        inside = picture[top + 1 : bottom - 1, left + 1 : right - 1].reshape(-1, 3)
        if tile == 5:
            assert {tuple(PAPER_RGB)} < {tuple(rgb) for rgb in inside.tolist()}
        else:
            assert (inside == colours[tile]).all()


def test_the_picture_of_a_slide_says_shares_and_what_is_missing():
    clusters = (np.arange(24) >= 18).astype(np.int64)
    figure = slide_figure(
        PLACES, palette(2)[clusters], clusters, None, mask=np.ones(24, np.bool_), num_clusters=3,
        explained=np.array([0.5, 0.25]), missing="No slide was given.",
    )  # fmt: skip
    found = texts(figure)
    assert {"1: 75.0%", "2: 25.0%", "1", "2"} <= set(found)
    words = " ".join(found)
    assert "hold 75% of the variance" in words
    assert "Of 1 cluster no tile is here." in words
    assert "No slide was given." in found
    assert "the slide" not in found


def test_points_are_coloured_by_group_or_number():
    groups = ["b", None, "a", "b"]
    by_group = coloured_by_group("by x", groups)
    assert by_group.rgb[0].tolist() == by_group.rgb[3].tolist() == palette(1)[0].tolist()
    assert by_group.rgb[1].tolist() == list(MISSING_RGB)
    assert [words for _, words in by_group.key] == ["b", "a", "not known"]
    many = coloured_by_group("by x", [f"g{i}" for i in range(13)])
    assert many.key[-1][1] == "3 more"
    by_number = coloured_by_number("by y", np.array([1.0, np.nan, 3.0, 2.0]))
    assert by_number.rgb[1].tolist() == list(MISSING_RGB)
    assert [words for _, words in by_number.key] == ["1", "1.667", "2.333", "3", "not known"]
    points = np.array([[0.0, 0], [1, 0], [0, 1], [2, 2]])
    assert middles(points, ["1", "1", "1", "2"]) == [(0, 0, "1"), (2, 2, "2")]
    figure = layout_figure(points, [by_group, by_number], title="Slides", note="PCA.")
    assert {"Slides", "by x", "by y", "PCA."} <= set(texts(figure))


def test_rows_of_tiles_show_words_and_what_is_missing():
    tall = np.zeros((20, 10, 3), np.uint8)
    pictures = [TilePicture(tall, ["s" * 90, "0.5"], framed=True), TilePicture(None, ["t"])]
    figure = rows_figure([TileRow("Cluster 1", pictures * 4, (1, 0, 0))], title="T", note="N")
    found = texts(figure)
    assert found.count("no picture") == 4
    assert any(text.endswith("…") and len(text) < 40 for text in found)
    (axes, *_) = [axes for axes in figure.axes if axes.images]
    box = axes.get_position()
    width, height = figure.get_size_inches()
    assert abs(box.height * height / (box.width * width) - 2) < 1e-6, "proportions stay"
