import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidenet.core.errors import MissingMppError, UnreadableSlideError
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.slides.tile_images.places import read_tile_images
from slidenet.slides.tile_images.record import TileFolderRecord
from slidenet.slides.tile_images.table import PlaceTable

LATTICE = ["0_0.png", "16_0.png", "0_16.png", "32_16.png"]


def read(folder, frame="level0", *, mpp=0.5, tile_mpp=0.5):
    return read_tile_images(folder, mpp, TileDeclaration(tile_mpp, frame))


def test_places_in_pixels_of_level_0(make_folder):
    images = read(make_folder(LATTICE))
    assert images.names == tuple(LATTICE)
    assert images.cut.coords.tolist() == [[0, 0], [16, 0], [0, 16], [32, 16]]
    assert (images.cut.tile_size_px, images.cut.stride_px, images.level0_size) == (16, 16, (48, 32))


def test_tiles_of_a_coarser_level_cover_more_of_level_0(make_folder):
    images = read(make_folder(["0_0.png", "32_0.png", "16_0.png"]), mpp=0.25)
    assert images.level0_size == (64, 32)
    assert images.cut.stride_px == 8  # they overlap by half
    assert images.cut.stride_guessed


@pytest.mark.parametrize(
    ("frame", "mpp", "coords"),
    [
        ("tile", None, [[0, 0], [3, 1]]),
        ("tile", 0.25, [[0, 0], [6, 2]]),
        ("grid", None, [[0, 0], [48, 16]]),
        ("grid", 0.25, [[0, 0], [96, 32]]),
    ],
)
def test_other_frames_become_level_0(make_folder, frame, mpp, coords):
    images = read(make_folder(["3_1.png", "0_0.png"]), frame, mpp=mpp)
    assert images.cut.coords.tolist() == coords
    assert images.names == ("0_0.png", "3_1.png")  # by row, then column
    assert images.slide_mpp.value == (mpp or 0.5)


def test_without_places_tiles_are_numbered_in_the_order_of_people(make_folder):
    images = read(make_folder([f"lung{n}.png" for n in (10, 2, 1, 3, 4)]), None, mpp=None)
    assert images.names == ("lung1.png", "lung2.png", "lung3.png", "lung4.png", "lung10.png")
    assert images.cut.coords.tolist() == [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16]]
    assert (images.cut.frame, images.cut.placed) == ("none", False)


def test_places_can_be_left_aside(make_folder):
    assert not read(make_folder(LATTICE), "none", mpp=None).cut.placed


def test_what_numbers_count_is_never_guessed(make_folder):
    with pytest.raises(UnreadableSlideError, match=r"first: 0, 0.*--tile-frame"):
        read(make_folder(LATTICE), None)


@pytest.mark.parametrize(
    ("mpp", "tile_mpp", "missing"),
    [(0.25, None, "--tile-mpp"), (None, 0.5, "--mpp"), (None, None, "--mpp .* and --tile-mpp")],
)
def test_level_0_needs_both_resolutions(make_folder, mpp, tile_mpp, missing):
    with pytest.raises(MissingMppError, match=missing):
        read(make_folder(LATTICE), mpp=mpp, tile_mpp=tile_mpp)


def test_names_of_qupath_need_level_0_alone(make_folder):
    names = [f"S [d=2,x={x},y=0,w=32,h=32].png" for x in (0, 32)]
    images = read(make_folder(names), None, mpp=0.25, tile_mpp=None)
    assert (images.cut.tile_mpp, images.level0_size) == (0.5, (64, 32))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("slide_id,tile_id,image,label,tile_x,tile_y", "S1,t,S1/{name},0,{x},{y}"),  # GigaPath
        ("Tile_Name;start_w;start_h", "{name};{x};{y}"),  # TIAToolbox
        ("\ufeffpath,x,y", r"C:\tiles\S1\{name},{x},{y}.0"),  # Windows, a BOM, floats
        ("tile,left,top", "{stem},{x},{y}"),
    ],
)
def test_a_csv_says_where_tiles_lie(make_folder, header, row):
    names = ["b.png", "a.png"]
    folder = make_folder(names)
    rows = [row.format(name=n, stem=n[:-4], x=16 * i, y=0) for i, n in enumerate(names)]
    (folder / "dataset.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    (folder / "labels.csv").write_text("path,label\na.png,1\n")  # no places: not meant
    images = read(folder)
    assert images.names == ("b.png", "a.png")
    assert images.cut.coords.tolist() == [[0, 0], [16, 0]]
    assert images.cut.notes == ("1 CSV file without places or regions (labels.csv)",)


def test_a_csv_of_another_encoding_is_not_overlooked(make_folder):
    folder = make_folder(["a.png", "b.png"])
    (folder / "p.csv").write_text("tile,x,y\na.png,0,0\nb.png,16,0\n", encoding="utf-16")
    with pytest.raises(UnreadableSlideError, match="UTF-16 text; save it as CSV UTF-8"):
        read(folder)


def test_links_that_lead_nowhere_are_tiles_that_cannot_be_read(make_folder):
    folder = make_folder(["0_0.png", "16_0.png"])
    (folder / "32_0.png").symlink_to(folder / "32_0.png")
    (folder / "loop").symlink_to(folder / "loop")
    assert read(folder).names == ("0_0.png", "16_0.png", "32_0.png")


def test_a_csv_beside_the_folder_is_as_good_and_two_are_one_too_many(make_folder):
    folder = make_folder(["a.png", "b.png"])
    folder.with_name("S1.csv").write_text("name,col,row\na.png,1,0\nb.png,0,0\n")
    images = read(folder, None, mpp=None)
    assert (images.names, images.cut.frame) == (("b.png", "a.png"), "grid")
    (folder / "x.csv").write_text("name,x,y\na.png,1,0\n")
    with pytest.raises(UnreadableSlideError, match=r"2 CSV files say .*\(x\.csv, S1\.csv\)"):
        read(folder)


@pytest.mark.parametrize("placed", [True, False])
def test_a_csv_may_say_in_which_region_each_tile_lies(make_folder, placed):
    folder = make_folder(["0_0.png", "16_0.png", "0_16.png"])
    rows = ["0_16.png,Stroma,0.5", "0_0.png,Tumor,1", "16_0.png,Tumor,"]
    (folder / "r.csv").write_text("\n".join(["tile,region,region_share", *rows]))
    regions = read(folder, "level0" if placed else "none").cut.regions
    assert (regions.names, regions.by) == (("Stroma", "Tumor"), "class")
    found = {name: regions.names[i] for name, i in zip("abc", regions.index, strict=True)}
    order = {"a": "Tumor", "b": "Tumor", "c": "Stroma"}
    if not placed:  # in the order of names: 0_0, 0_16, 16_0
        order = {"a": "Tumor", "b": "Stroma", "c": "Tumor"}
    assert found == order
    assert sorted(regions.share.tolist()) == [0.5, 1.0, 1.0]
    (folder / "r.csv").write_text("\n".join(["tile,region", "0_0.png,Tumor", "16_0.png,"]))
    with pytest.raises(UnreadableSlideError, match=r"says no region of 2 of 3 tiles"):
        read(folder)
    (folder / "r.csv").write_text("tile,region\n0_0.png,\x1b[31mTumor\n")
    with pytest.raises(UnreadableSlideError, match=r"has '\\x1b\[31mTumor' in column 'region'"):
        read(folder)


def test_regions_that_files_cannot_tell_apart_are_refused():
    names = tuple(f"{number}.png" for number in range(2**16 + 1))
    regions = tuple((name, 1.0) for name in names)
    table = PlaceTable(Path("r.csv"), names, None, regions, 0, TileDeclaration(), None)
    assert len(table.regions_of(names[1:]).names) == 2**16
    with pytest.raises(UnreadableSlideError, match="names 65,537 regions, more than 65,536"):
        table.regions_of(names)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.png,0,0\na.png,1,1", "twice"),
        ("a.png,zero,0", "'zero' in column 'x'"),
        ("a.png,-1,0", "'-1'"),
        ("a.png,0.5,0", "'0.5'"),
        ("a.png,1e300,0", "'1e300'"),
        ("c.png,0,0", "none of the 1 tiles named in p.csv lies in the folder"),
    ],
)
def test_a_damaged_csv_is_one_line(make_folder, rows, words):
    folder = make_folder(["a.png", "b.png"])
    (folder / "p.csv").write_text(f"file,x,y\n{rows}\n")
    with pytest.raises(UnreadableSlideError, match=words) as error:
        read(folder)
    assert "\n" not in str(error.value)


def test_what_is_left_out_is_counted(make_folder):
    folder = make_folder([*LATTICE, "thumbnail.png"])
    (folder / "notes.txt").write_text("x")
    (folder / "Thumbs.db").write_text("x")
    (folder / ".DS_Store").write_text("x")
    notes = read(folder).cut.notes
    assert notes == (
        "1 image without a place left out (thumbnail.png)",
        "1 other file in the folder",
    )


def test_two_tiles_at_one_place_are_named(make_folder):
    with pytest.raises(UnreadableSlideError, match=r"0_0\.png and 00_00\.png|00_00\.png and 0_0"):
        read(make_folder(["0_0.png", "00_00.png", "16_0.png"]))


def test_tiles_of_several_sizes_are_refused_but_at_the_edge(make_folder):
    folder = make_folder(["0_0.png", "16_0.png", "0_16.png", "16_16.png"])
    Image.new("RGB", (7, 16)).save(folder / "32_0.png")  # cut by the right edge
    images = read(folder)
    assert len(images.names) == 4
    assert images.cut.notes == ("1 smaller tile at the edge left out",)
    Image.new("RGB", (7, 16)).save(folder / "0_0.png")
    with pytest.raises(UnreadableSlideError, match=r"3 of 16 x 16 px .*2 of 7 x 16 px"):
        read(folder)


def test_a_slide_in_a_folder_is_no_tile(make_folder):
    folder = make_folder(["0_0.png"])
    data = bytearray((folder / "0_0.png").read_bytes())
    data[16:24] = (9000).to_bytes(4, "big") * 2
    (folder / "0_0.png").write_bytes(data)
    with pytest.raises(UnreadableSlideError, match=r"9,000 x 9,000 px .*slides\.csv"):
        read(folder)


def test_what_slidenet_exported_says_everything_itself(make_folder):
    record = TileFolderRecord(0.25, 0.5, 16, 16, 500, 400, 4)
    folder = make_folder(["0_0.png", "32_0.png", "0_32.png"])
    (folder / "tiles.json").write_text(json.dumps(record.content()))
    images = read(folder, None, mpp=None, tile_mpp=None)
    assert (images.slide_mpp.value, images.slide_mpp.source) == (0.25, "tiles.json")
    assert (images.cut.tile_mpp, images.cut.frame, images.level0_size) == (
        0.5,
        "level0",
        (500, 400),
    )
    assert not images.cut.stride_guessed
    assert "stride_guessed" not in record.content()
    guessed = replace(record, stride_guessed=True)
    (folder / "tiles.json").write_text(json.dumps(guessed.content()))
    assert read(folder, None, mpp=None, tile_mpp=None).cut.stride_guessed
    (folder / "tiles.json").write_text(json.dumps(record.content() | {"complete": False}))
    with pytest.raises(UnreadableSlideError, match="did not end"):
        read(folder, None, mpp=None, tile_mpp=None)


@pytest.mark.parametrize(
    "change",
    [
        {"slide_mpp": "x"},
        {"tile_mpp": -1},
        {"level0_width": 10**30},
        {"frame": "sky"},
        {"stride_guessed": 1},
    ],
)
def test_a_damaged_record_is_one_line(make_folder, change):
    folder = make_folder(LATTICE)
    content = TileFolderRecord(0.25, 0.5, 16, 16, 500, 400, 4).content() | change
    (folder / "tiles.json").write_text(json.dumps(content))
    with pytest.raises(UnreadableSlideError, match=f"says {next(iter(change))}"):
        read(folder, None, mpp=None, tile_mpp=None)


@pytest.mark.slow
def test_many_files_are_listed_in_seconds(make_folder):
    folder = make_folder(["0_0.png"])
    head = (folder / "0_0.png").read_bytes()[:64]
    for number in range(1, 20_000):
        (folder / f"{number % 400 * 16}_{number // 400 * 16}.png").write_bytes(head)
    start = time.process_time()
    images = read(folder)
    assert time.process_time() - start < 4
    assert len(images.names) == 20_000
    assert np.array_equal(images.cut.coords[:2], [[0, 0], [16, 0]])
