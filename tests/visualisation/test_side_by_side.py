import matplotlib
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box

from slidenet.core.errors import ConfigError, OutputError
from slidenet.core.records import TileSet
from slidenet.slides import plan_tiles
from slidenet.visualisation import demo_figure, save_figure, scale_bar, side_by_side


@pytest.fixture
def figure(flat_slide):
    slide = flat_slide(np.full((120, 160, 3), (214, 150, 190), np.uint8), mpp=2.0)
    coords = np.array([[0, 0], [40, 0], [80, 40]], np.int64)
    geometry = plan_tiles(slide, target_mpp=2.0, tile_size_px=40)
    tile_set = TileSet("slide_7", "p", "f", geometry, coords, np.ones(3, np.float32), {})
    features = np.random.default_rng(0).normal(size=(3, 5))
    picture = slide.thumbnail(1600)
    return demo_figure(picture, [box(0, 0, 90, 80)], tile_set, features, encoder="dinov2_vits14")


def texts(figure):
    return [t.get_text() for t in figure.texts] + [
        text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)
    ] + [axes.get_title(loc="left") for axes in figure.axes]  # fmt: skip


def test_it_says_what_it_shows(figure):
    said = " | ".join(texts(figure))
    for words in ("slide_7", "3 tiles of 40 px at 2 µm/px", "dinov2_vits14", "50 µm"):
        assert words in said
    assert len(figure.axes) == 2


def test_both_pictures_have_the_proportions_of_the_slide(figure):
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        frame = axes.get_position()
        assert frame.width * width / (frame.height * height) == pytest.approx(160 / 120)


@pytest.mark.parametrize(
    ("width_um", "length", "label"),
    [
        (1000.0, 200.0, "200 µm"),
        (1108.0, 200.0, "200 µm"),
        (6400.0, 1000.0, "1 mm"),
        (25_000.0, 5000.0, "5 mm"),
        (49.0, 5.0, "5 µm"),
        (9999.0, 1000.0, "1 mm"),
        (3.0, 0.5, "0.5 µm"),
    ],
)
def test_scale_bars_are_round(width_um, length, label):
    assert scale_bar(width_um) == (pytest.approx(length), label)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.JPEG", "JPEG")]
)
def test_saved_whole_and_the_same_every_time(figure, tmp_path, name, kind):
    save_figure(figure, tmp_path / name, dpi=60)
    first = (tmp_path / name).read_bytes()
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind
        assert min(picture.size) > 200
    save_figure(figure, tmp_path / name, dpi=60)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.glob(f"*{name}*")] == [name]


def test_other_formats_and_bad_places_are_errors(figure, tmp_path):
    with pytest.raises(ConfigError, match=r"ending in \.png, \.jpg or \.svg"):
        save_figure(figure, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_figure(figure, tmp_path / "file" / "a.png")


def test_global_state_of_matplotlib_stays_as_it_was():
    before = dict(matplotlib.rcParams)
    side_by_side(*[np.zeros((30, 40, 3), np.uint8)] * 2, slide_width_um=80.0)
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
