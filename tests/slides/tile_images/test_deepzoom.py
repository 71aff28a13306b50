"""DeepZoom pictures as openslide's own generator exports them."""

import numpy as np
import openslide
import pytest
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tiles
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.stores import read_manifest

TILE, WIDTH, HEIGHT = 16, 75, 51


def export(folder, name, overlap):
    """The picture NAME.dzi of WIDTH x HEIGHT px, and its pixels."""
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    generator = DeepZoomGenerator(
        openslide.ImageSlide(Image.fromarray(pixels)), TILE, overlap, limit_bounds=False
    )
    for level, (columns, rows) in enumerate(generator.level_tiles):
        place = folder / f"{name}_files" / str(level)
        place.mkdir(parents=True)
        for column in range(columns):
            for row in range(rows):
                generator.get_tile(level, (column, row)).save(place / f"{column}_{row}.png")
    (folder / f"{name}.dzi").write_text(generator.get_dzi("png"))
    return pixels


@pytest.fixture(scope="module", params=[0, 2])
def deepzoom(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dzi")
    return folder, export(folder, "A", request.param)


@pytest.mark.parametrize("name", ["A.dzi", "A_files", "."])
def test_tiles_are_those_of_the_picture_without_what_they_share(deepzoom, name):
    folder, pixels = deepzoom
    with open_slide(folder / name, mpp=0.5) as slide:
        assert slide.level_dimensions == ((WIDTH, HEIGHT),)
        cut = slide.cut_tiles
        assert (cut.tile_size_px, cut.tile_mpp, cut.placed) == (TILE, 0.5, True)
        assert len(cut.coords) == (WIDTH // TILE) * (HEIGHT // TILE)
        assert cut.notes == ("8 tiles cut by the edge left out",)
        geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=TILE)
        (batch,) = read_tiles(slide, geometry, cut.coords, batch_size=99)
        for (x, y), tile in zip(cut.coords.tolist(), batch.pixels, strict=True):
            assert (tile == pixels[y : y + TILE, x : x + TILE]).all(), (x, y)
        whole = slide.read_region((0, 0), 0, (WIDTH, HEIGHT))
        assert (whole[:48, :64] == pixels[:48, :64]).all()


def test_a_lower_level_by_its_resolution(deepzoom):
    folder, _ = deepzoom
    with open_slide(folder / "A.dzi", mpp=0.25, tiles=TileDeclaration(0.5)) as slide:
        assert slide.level_dimensions == ((WIDTH, HEIGHT),)
        assert slide.cut_tiles.tile_mpp == 0.5
        assert slide.cut_tiles.coords.tolist() == [[0, 0], [32, 0]]
        coarser = slide.read_cut_tile((32, 0))
    with Image.open(next((folder / "A_files" / "6").glob("1_0.png"))) as image:
        left = image.size[0] - TILE - (image.size[0] - TILE) // 2
        assert (coarser == np.asarray(image)[:TILE, left : left + TILE]).all()
    with pytest.raises(UnreadableSlideError, match=r"no level of 0\.7 mpp \(there are 7, 6, 5"):
        open_slide(folder / "A.dzi", mpp=0.25, tiles=TileDeclaration(0.7))


def test_a_folder_of_deepzoom_pictures_is_a_cohort(tmp_path):
    for name in ("A", "B.1"):
        export(tmp_path, name, 0)
    rows = read_manifest(tmp_path)
    assert [row.slide_id for row in rows] == ["A", "B.1"]
    with pytest.raises(UnreadableSlideError, match="holds 2 DeepZoom pictures"):
        open_slide(tmp_path, mpp=0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "says Image.TileSize ''"),
        ('<Image TileSize="0" Overlap="0"><Size Width="9" Height="9"/></Image>', "TileSize '0'"),
        (f'<Image TileSize="16" Overlap="0"><Size Width="{10**30}" Height="9"/>', "Size.Width"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Image TileSize="&b;" Overlap="1">', "TileSize '&b;'"),
        ("\x00" * 100_000, "says Image.TileSize"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path, text, words):
    (tmp_path / "A.dzi").write_text(text)
    (tmp_path / "A_files").mkdir()
    with pytest.raises(UnreadableSlideError, match=words) as error:
        open_slide(tmp_path / "A.dzi", mpp=0.5)
    assert "\n" not in str(error.value)


def test_missing_tiles_are_counted_and_a_missing_folder_is_named(tmp_path):
    export(tmp_path, "A", 1)
    (tmp_path / "A_files" / "7" / "1_1.png").unlink()
    with open_slide(tmp_path / "A.dzi", mpp=0.5) as slide:
        assert slide.cut_tiles.notes[-1] == "1 tile not in the folder"
    (tmp_path / "A_files").rename(tmp_path / "B_files")
    with pytest.raises(UnreadableSlideError, match="A_files is not beside A"):
        open_slide(tmp_path / "A.dzi", mpp=0.5)
