"""A folder of slides: nothing of it is left out without a word."""

import os

import pytest

from slidenet.core.errors import ManifestError
from slidenet.stores import read_manifest


def ids(folder, **keywords):
    return [row.slide_id for row in read_manifest(folder, **keywords)]


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_is_no_slide_is_told_by_count_and_name(tmp_path, caplog):
    fill(tmp_path, "a.svs", "notes.txt", "slides.csv", "._a.svs", "deeper/b.svs", "more/c.svs")
    os.mkfifo(tmp_path / "pipe.svs")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "away.svs").symlink_to(tmp_path / "nowhere.svs")
    (tmp_path / "round.txt").symlink_to(tmp_path / "round.txt")
    fill(tmp_path, "b.dzi", "b.svs", "b_files/0/0_0.jpeg", "m.mrxs", "m/Slidedat.ini")
    assert ids(tmp_path) == ["a", "away", "b", "m"]
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "left out 2 subfolders (deeper, more); --recursive takes the slides of subfolders, too",
        "left out 1 part or copy of another slide (b.dzi)",
        "left out 1 hidden entry (._a.svs)",
        "left out 2 files with the ending of no slide (notes.txt, slides.csv)",
        "left out 1 link to what is not there (gone)",
        "left out 1 pipe, device or socket (pipe.svs)",
        "left out 1 entry that cannot be read (round.txt: Too many levels of symbolic links); "
        "check their permissions and the disk",
        "1 slide (away.svs) are links to what is not there, and will fail",
    ]


def test_a_name_cannot_write_to_the_terminal(tmp_path, caplog):
    fill(tmp_path, "a.svs", "x\x1b[2Jy.txt", "z\nw.txt")
    ids(tmp_path)
    assert all(line.isprintable() for line in caplog.messages)


def test_slides_of_subfolders_keep_their_names_unless_they_share_one(tmp_path, caplog):
    fill(tmp_path, "a.svs", "x/b.svs", "x/deep/c.tif", "y/b.ndpi", "y/A.svs", "y/z.txt")
    assert ids(tmp_path, recursive=True) == ["a", "x--b", "c", "y--A", "y--b"]
    assert "left out 1 file with the ending of no slide (y/z.txt)" in caplog.text
    assert "4 slides (a, x--b, y--A, y--b) are named with their folders" in caplog.text


def test_names_with_folders_that_meet_others_are_refused(tmp_path):
    fill(tmp_path, "x/b.svs", "y/b.svs", "x--b.svs")
    with pytest.raises(ManifestError, match=r"x--b.svs: slide_id 'x--b' is already taken"):
        ids(tmp_path, recursive=True)


def test_what_lies_in_subfolders_without_being_slides(tmp_path, caplog):
    fill(tmp_path, "a.svs", "out/run.json", "out/overlays/a.jpg", ".trash/old.svs")
    fill(tmp_path, "part/tiles/a.h5", "part/overlays/b.jpg", "m.mrxs", "m/Index.dat")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.svs").touch()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert ids(tmp_path, recursive=True) == ["a", "b", "m"]
    assert "left out 2 folders with outputs of slidenet (out, part)" in caplog.text
    assert "left out 2 links to folders listed already" in caplog.text
    assert "left out 1 hidden entry (.trash)" in caplog.text


def test_tile_images_in_subfolders_are_one_slide_where_they_say_places(tmp_path, caplog):
    fill(tmp_path, "s1/tiles.json", "s1/1.png", *(f"s2/t_{x}_{y}.png" for x in "12" for y in "12"))
    fill(tmp_path, "wsi/normal_001.tif", "wsi/normal_002.tif")
    assert ids(tmp_path, recursive=True) == ["s1", "s2", "normal_001", "normal_002"]
    assert "2 slides (s1, s2) are folders of tile images" in caplog.text


def test_only_folders_have_subfolders(tmp_path):
    (tmp_path / "slides.csv").write_text("slide_path\na.svs\n")
    for path in (tmp_path / "slides.csv", tmp_path / "a.svs"):
        with pytest.raises(ManifestError, match=r"--recursive is given, and .* is no folder"):
            read_manifest(path, recursive=True)


def test_a_name_that_no_disk_takes_everywhere_is_refused_before_any_work(tmp_path):
    fill(tmp_path, "a.svs", "NUL.svs")
    with pytest.raises(ManifestError, match=r"file NUL.svs: .*device of Windows.*rename its file"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="device of Windows"):
        read_manifest(tmp_path / "NUL.svs")
    fill(tmp_path, os.fsdecode(b"\xff.svs"))
    with pytest.raises(ManifestError, match=r"NUL.*; so is it with 1 more: '\\udcff'"):
        read_manifest(tmp_path)
    (tmp_path / "NUL.svs").unlink()
    with pytest.raises(ManifestError, match=r"holds U\+DCFF, half a character"):
        read_manifest(tmp_path)
