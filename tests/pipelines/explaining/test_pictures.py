import dataclasses

import numpy as np
import pytest
from PIL import Image

from slidenet.core.records import SlideRow
from slidenet.core.units import Mpp
from slidenet.pipelines.cohort.layout import ExplanationLayout
from slidenet.pipelines.explaining import pictures
from slidenet.pipelines.explaining.pictures import (
    agreement_of,
    caption_of,
    draw_figures,
    draw_galleries,
    gallery_tiles,
)
from slidenet.pipelines.explaining.pixels import SlidePixels, read_pixels
from slidenet.slides import open_slide, plan_tiles
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.stores import TileMap, TileMaps
from slidenet.testing.pyramid import write_pyramid

HERE = {"isolate": False}
COORDS = np.array([[256, 256], [512, 256], [256, 512], [512, 512]], np.int64)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "S1.tif"

    def paint(x, y, width, height):
        rows, columns = np.mgrid[y : y + height, x : x + width]
        return np.stack([rows // 5, columns // 5, rows % 9 * 20], axis=-1).astype(np.uint8)

    write_pyramid(path, 1024, 1024, 0.5, paint)
    return path


@pytest.fixture(scope="module")
def maps(path):
    with open_slide(path) as slide:
        geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=256)
        fingerprint = slide.fingerprint

    def one(method, target, values, *, is_evidence=True, **details):
        numbers = np.array(values, np.float32)
        return TileMap(numbers, method, target, True, "logit", is_evidence, details)

    alike = {"single_tile": {"spearman": 0.8, "top_overlap": 1.0, "num_top": 1}}
    beats = {"deletion_beats": 19, "random_orders": 20}
    made = (
        one("evidence", "b", [1, 2, -1, np.nan], agreement=alike, faithfulness=beats),
        one("single_tile", "b", [2, 3, -2, -3]),
        one("untrained", "b", [0, 0.1, 0, 0], is_evidence=False),
        one("evidence", "c", [1, 1, 1, 1]),
    )
    said = {"S1": {"words": "b, 0.91"}}
    return TileMaps("S1", str(path), fingerprint, geometry, COORDS, made, {}, said)


@pytest.fixture
def row(path):
    return SlideRow("S1", str(path))


@pytest.fixture
def pixels(row, maps):
    return read_pixels(row, maps, HERE, tiles=gallery_tiles(maps, [0, 1], 2))


def test_a_slide_shows_itself_and_its_tiles(row, maps):
    pixels = read_pixels(row, maps, HERE, tiles=[3, 1])
    assert pixels.missing == ""
    with open_slide(row.slide_path) as slide:
        assert np.array_equal(pixels.overview, slide.thumbnail(2000))
        assert pixels.properties == slide.properties
        for index in (1, 3):
            x, y = COORDS[index].tolist()
            assert np.array_equal(pixels.tiles[index], slide.read_region((x, y), 0, (256, 256)))


def test_a_slide_that_is_gone_is_said_so(row, maps, path, tmp_path):
    moved = dataclasses.replace(row, slide_path=str(tmp_path / "S1.tif"))
    assert read_pixels(moved, maps, HERE).missing == "There is no slide 'S1.tif' any more."
    nowhere = dataclasses.replace(row, slide_path="")
    assert "No slide was named" in read_pixels(nowhere, maps, HERE).missing
    (tmp_path / "S1.tif").write_bytes(path.read_bytes()[:5000])
    assert "'S1.tif' cannot be shown: " in read_pixels(moved, maps, HERE).missing
    other = dataclasses.replace(maps, fingerprint="0" * 64)
    found = read_pixels(row, other, HERE, tiles=[1])
    assert "another file than the one its features were made from" in found.missing
    assert found.overview is found.properties is None
    assert not found.tiles


def test_features_of_other_tools_do_not_know_the_size_of_their_slide(row, maps):
    geometry = dataclasses.replace(maps.geometry, level0_width=768, level0_height=768)
    foreign = dataclasses.replace(maps, geometry=geometry, fingerprint="features:0")
    pixels = read_pixels(row, foreign, HERE, tiles=[0])
    with open_slide(row.slide_path) as slide:
        assert np.array_equal(pixels.overview, slide.read_region((0, 0), 0, (768, 768)))
    assert list(pixels.tiles) == [0]
    for side in ("level0_width", "level0_height"):
        large = dataclasses.replace(foreign, geometry=dataclasses.replace(geometry, **{side: 4096}))
        assert "no room for the tiles" in read_pixels(row, large, HERE).missing


def test_what_cannot_be_read_of_a_slide_is_hatched(maps, tmp_path):
    folder = tmp_path / "S1"
    folder.mkdir()
    for name in ("0_0", "256_0", "0_256", "256_256"):
        Image.new("RGB", (256, 256), (200, 100, 150)).save(folder / f"{name}.png")
    declared = TileDeclaration(Mpp(0.5), "level0")
    with open_slide(folder, mpp=0.5, tiles=declared) as slide:
        geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=256)
        of_folder = dataclasses.replace(
            maps, geometry=geometry, coords=slide.cut_tiles.coords, fingerprint="features:0"
        )
    (folder / "256_0.png").write_bytes((folder / "256_0.png").read_bytes()[:200])
    row = SlideRow("S1", str(folder), Mpp(0.5))
    pixels = read_pixels(row, of_folder, HERE, tiles=[0, 1])
    assert "up to 25.0% of its overview cannot be decoded, hatched here." in pixels.missing
    assert list(pixels.tiles) == [0]
    plain = (pixels.overview == (200, 100, 150)).all(-1)
    assert plain[:, :256].all()
    assert plain[256:].all()
    assert not plain[:256, 256:].any()


@pytest.fixture
def drawn(monkeypatch):
    """Names of figures instead of their pictures, with the captions below them."""
    found = {}
    for name in ("map_figure", "compare_figure", "gallery_figure"):

        def draw(*arguments, name=name, **keywords):
            return name, arguments, keywords

        monkeypatch.setattr(pictures, name, draw)
    monkeypatch.setattr(
        pictures, "save_figure", lambda figure, path, **_: found.setdefault(path, figure)
    )
    return found


def test_every_map_has_a_figure_and_controls_share_one(maps, pixels, drawn, tmp_path):
    files, notes = draw_figures(ExplanationLayout(tmp_path), maps, pixels)
    names = [str(path.relative_to(tmp_path / "figures")) for path in files]
    assert names == [
        "S1.png", "S1.svg", "more/S1/single_tile-b.png", "more/S1/evidence-c.png",
        "more/S1/methods-b.png",
    ]  # fmt: skip
    assert notes == []
    kind, arguments, keywords = drawn[files[-1]]
    assert (kind, arguments[1]) == ("compare_figure", [0, 1, 2])
    assert keywords["notes"] == ["deletion beats 19 of 20 random", "", ""]
    assert keywords["caption"] == "The model says: b, 0.91."
    first = draw_figures(ExplanationLayout(tmp_path / "c"), maps, pixels, compare=True)[0][0]
    assert drawn[first][0] == "compare_figure"


def test_controls_alone_have_figures_too(maps, pixels, drawn, tmp_path):
    alone = dataclasses.replace(maps, maps=maps.maps[2:3])
    files, _ = draw_figures(ExplanationLayout(tmp_path), alone, pixels)
    assert [path.name for path in files] == ["S1.png", "S1.svg"]


def test_pictures_say_that_the_slide_is_missing(row, maps, drawn, tmp_path):
    gone = dataclasses.replace(row, slide_path=str(tmp_path / "S1.tif"))
    nothing, missing = read_pixels(gone, maps, HERE), "There is no slide 'S1.tif' any more."
    for draw in (
        lambda layout: draw_figures(layout, maps, nothing),
        lambda layout: draw_galleries(layout, maps, nothing, num_top=2, which=[0]),
    ):
        files, notes = draw(ExplanationLayout(tmp_path))
        assert notes == [missing]
        assert all(missing in drawn[path][2]["caption"] for path in files)


def test_galleries_hold_the_tiles_at_both_ends(maps, pixels, drawn, tmp_path):
    files, _ = draw_galleries(ExplanationLayout(tmp_path), maps, pixels, num_top=2, which=[0, 1])
    assert [path.name for path in files] == ["S1.png", "single_tile-b.png"]
    _, (_, number, top, bottom, overview), _ = drawn[files[0]]
    assert number == 0
    assert [tile.index for tile in (*top, *bottom)] == [1, 0, 2]
    assert all(tile.pixels.shape == (256, 256, 3) for tile in (*top, *bottom))
    assert overview is not None


def test_agreement_is_what_the_maps_say(maps):
    found = agreement_of(maps, [0, 1, 2])
    assert found[0, 1] == found[1, 0] == 0.8
    assert np.isnan(found[0, 2])


def test_captions_name_bags_and_stop_at_some(maps):
    many = dataclasses.replace(
        maps, prediction={f"S1#{number}": {"words": "b"} for number in range(9)}
    )
    lines = caption_of(many, SlidePixels(missing="Gone.")).split("\n")
    assert lines[0] == "The model says of S1#0: b."
    assert lines[-2:] == ["(And of 5 further bags.)", "Gone."]


@pytest.mark.slow
def test_pictures_are_files_that_open(maps, pixels, tmp_path):
    layout = ExplanationLayout(tmp_path)
    maps = dataclasses.replace(maps, maps=maps.maps[:2])
    files = draw_figures(layout, maps, pixels)[0]
    files += draw_galleries(layout, maps, pixels, num_top=2, which=[0])[0]
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 400
        else:
            assert path.read_text().rstrip().endswith("</svg>")


def test_files_of_targets_that_differ_by_signs_alone_are_apart(tmp_path):
    layout = ExplanationLayout(tmp_path)
    names = ("evidence-ER+", "evidence-ER-", "evidence-Ж", "evidence-Я", "evidence-ER_")
    paths = [layout.further("figures", "a", name, ".png") for name in names]
    assert len(set(paths)) == len(names)
    assert paths[-1].name == "evidence-ER_.png"
