import dataclasses

import h5py
import numpy as np
import pytest

from slidenet.core.errors import EncoderError
from slidenet.stores import read_features, validate_file, write_tile_set


def attrs(file):
    return file["slidenet"].attrs


def replace(file, name, data):
    kept = dict(file[name].attrs)
    del file[name]
    file[name] = data
    file[name].attrs.update(kept)


def test_sound_files(features_file, tmp_path, tile_set):
    assert validate_file(features_file) == []
    assert validate_file(write_tile_set(tmp_path / "slide_1.h5", tile_set)) == []


PROBLEMS = {
    "features dtype": (
        lambda f: replace(f, "features", f["features"][:].astype("f8")),
        "/features is float64; expected float16 or float32",
    ),
    "features rows": (
        lambda f: replace(f, "features", f["features"][:599]),
        "/features has shape (599, 12); expected (600, 12) by the attributes of the file",
    ),
    "features axes": (
        lambda f: replace(f, "features", f["features"][:][None]),
        "/features has shape (1, 600, 12); expected 2 axes",
    ),
    "features gone": (lambda f: f.pop("features"), "dataset /features is missing"),
    "features NaN": (
        lambda f: f["features"].__setitem__((slice(257, 263), 3), np.nan),
        "/features holds NaN or infinite values in rows 257, 258, 259 and 3 more",
    ),
    "unreadable not zero": (
        lambda f: f["features"].__setitem__((5, 3), 1),
        "/features holds values other than zero for tiles that are not ok in row 5",
    ),
    "dtype attribute": (
        lambda f: attrs(f).__setitem__("dtype", "float32"),
        "/features is float16; attribute 'dtype' says float32",
    ),
    "status code": (
        lambda f: f["slidenet/status"].__setitem__(5, 7),
        "/slidenet/status holds codes other than 0, 1 and 2 in row 5",
    ),
    "status count": (
        lambda f: f["slidenet/status"].__setitem__(5, 0),
        "1 tiles are unreadable; attribute 'num_unreadable' says 2",
    ),
    "empty count": (
        lambda f: f["slidenet/status"].__setitem__(5, 2),
        "1 tiles are empty; attribute 'num_empty' says 0",
    ),
    "reading": (
        lambda f: attrs(f).__setitem__("reading", np.int64(7)),
        "attribute 'reading' is 7; expected 1 or 2",
    ),
    "reading gone": (
        lambda f: attrs(f).__delitem__("reading"),
        "/slidenet attribute 'reading' is missing",
    ),
    "shrinking": (
        lambda f: attrs(f).__setitem__("shrinking", "magic"),
        "attribute 'shrinking' is 'magic'; expected area or jpeg",
    ),
    "coords dtype": (
        lambda f: replace(f, "coords", f["coords"][:].astype("f4")),
        "/coords is float32; expected int64",
    ),
    "coords negative": (
        lambda f: f["coords"].__setitem__((0, 0), -5),
        "/coords holds negative values in row 0",
    ),
    "coords outside": (
        lambda f: f["coords"].__setitem__((599, 1), 30000),
        "/coords lies outside the slide of 20000 x 30000 in row 599",
    ),
    "coords twice": (
        lambda f: f["coords"].__setitem__(8, f["coords"][7]),
        "/coords names the same tile twice in row 8",
    ),
    "coords order": (
        lambda f: f["coords"].__setitem__(slice(7, 9), f["coords"][7:9][::-1]),
        "/coords is not sorted by y, then x",
    ),
    "coords attribute gone": (
        lambda f: f["coords"].attrs.__delitem__("patch_size_level0"),
        "/coords attribute 'patch_size_level0' is missing",
    ),
    "coords attribute wrong": (
        lambda f: f["coords"].attrs.__setitem__("patch_size_level0", np.int64(256)),
        "/coords attribute 'patch_size_level0' is 256; the file's geometry says 257",
    ),
    "tissue fraction": (
        lambda f: f["slidenet/tissue_fraction"].__setitem__(0, np.nan),
        "/slidenet/tissue_fraction holds values outside [0, 1]",
    ),
    "group gone": (
        lambda f: f.pop("slidenet"),
        "it has no group /slidenet, so it was not written by slidenet",
    ),
    "attribute gone": (
        lambda f: attrs(f).__delitem__("slide_mpp"),
        "/slidenet attribute 'slide_mpp' is missing",
    ),
    "attribute type": (
        lambda f: attrs(f).__setitem__("level", "zero"),
        "/slidenet attribute 'level' is 'zero'; expected a whole number",
    ),
    "attribute NaN": (
        lambda f: attrs(f).__setitem__("target_mpp", np.nan),
        "/slidenet attribute 'target_mpp' is nan; expected a finite number",
    ),
    "attribute value": (
        lambda f: attrs(f).__setitem__("read_mpp", 0.0),
        "attribute 'read_mpp' is 0.0; expected a positive number",
    ),
    "unknown format": (
        lambda f: attrs(f).__setitem__("format", "slidenet.movies"),
        "its format 'slidenet.movies' is none of slidenet.tiles, slidenet.features, "
        "slidenet.slide_embedding",
    ),
    "future version": (
        lambda f: attrs(f).__setitem__("format_version", np.int64(9)),
        "its format version is 9, this slidenet reads up to 2 (a newer slidenet is needed)",
    ),
    "recipe changed": (
        lambda f: attrs(f).__setitem__("tiles_recipe", '{"segmenter":"all"}'),
        "attribute 'tiles_recipe' does not belong to tiles_recipe_hash",
    ),
    "recipe no JSON": (
        lambda f: attrs(f).__setitem__("encoder", "resnet"),
        "attribute 'encoder' is no JSON (Expecting value",
    ),
    "recipe no mapping": (
        lambda f: attrs(f).__setitem__("encoder", "[1]"),
        "attribute 'encoder' is no JSON mapping",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_named(features_file, name):
    spoil, message = PROBLEMS[name]
    with h5py.File(features_file, "r+") as file:
        spoil(file)
    problems = validate_file(features_file)
    assert any(problem.startswith(message) for problem in problems), problems


def test_all_problems_of_a_file_are_listed(features_file):
    with h5py.File(features_file, "r+") as file:
        file["features"][40, 0] = np.inf
        file["coords"][0, 1] = -1
        attrs(file)["num_unreadable"] = np.int64(3)
    assert len(validate_file(features_file)) == 3


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("slide_id,slide_path\n")
    for name in ("empty.h5", "text.h5", "absent.h5", "."):
        (problem,) = validate_file(tmp_path / name)
        assert name in problem or str(tmp_path) in problem


def test_truncated_anywhere(features_file):
    data = features_file.read_bytes()
    for length in range(0, len(data), 997):
        features_file.write_bytes(data[:length])
        assert validate_file(features_file), length


@pytest.mark.slow
@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
def test_a_spoilt_block_never_stops_the_check(features_file, fill):
    # A copy cut short may have the right length and end in zeros.
    data = features_file.read_bytes()
    size = 512
    for start in range(0, len(data), size):
        features_file.write_bytes(data[:start] + fill * size + data[start + size :])
        validate_file(features_file)  # tissue fractions carry no checksum: a list, maybe empty
    features_file.write_bytes(data[: len(data) // 2] + b"\x00" * (len(data) - len(data) // 2))
    assert validate_file(features_file)


def test_features_carry_a_checksum(features_file):
    with h5py.File(features_file) as file:
        place = file["features"].id.get_chunk_info(1).byte_offset
    data = bytearray(features_file.read_bytes())
    data[place : place + 24] = bytes(24)  # one row of zeros
    features_file.write_bytes(data)
    (problem,) = validate_file(features_file)
    assert "slide_1.h5 cannot be read as HDF5" in problem


@pytest.mark.parametrize("name", ["coords", "slidenet/status", "slidenet/tissue_fraction"])
def test_one_flipped_bit_of_any_dataset_is_found(features_file, name):
    with h5py.File(features_file) as file:
        offset = file[name].id.get_chunk_info(0).byte_offset
    data = bytearray(features_file.read_bytes())
    data[offset + 9] ^= 1
    features_file.write_bytes(data)
    (problem,) = validate_file(features_file)
    assert "cannot be read as HDF5" in problem


def test_slides_read_in_the_old_way_are_files_of_version_1(tmp_path, toy):
    old = dataclasses.replace(
        toy.make_tile_set(9), geometry=dataclasses.replace(toy.GEOMETRY, reading=1)
    )
    path = toy.write_features(tmp_path / "slide_1.h5", old, unreadable=(3,))
    with h5py.File(path) as file:
        assert file["slidenet"].attrs["format_version"] == 1
        assert not {"reading", "shrinking", "num_empty"} & set(file["slidenet"].attrs)
        assert file["coords"].chunks is None
        assert file["slidenet/status"][:].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert validate_file(path) == []
    with toy.open_writer(tmp_path / "b.h5", old) as writer, pytest.raises(EncoderError, match="2"):
        writer.append(toy.features_of(0, 9), np.full(9, 2))


def test_empty_tiles_are_counted_and_masked(tmp_path, toy):
    path = tmp_path / "slide_1.h5"
    with toy.open_writer(path, toy.make_tile_set(9)) as writer:
        writer.append(toy.features_of(0, 9), [0, 2, 2, 1, 0, 0, 0, 0, 0])
        writer.finish()
    assert validate_file(path) == []
    file = read_features(path)
    assert (file.num_unreadable, file.num_empty, file.geometry.reading) == (1, 2, 2)
    assert file.mask.tolist() == [True, False, False, False, True, True, True, True, True]
    assert not file.features[1:4].any()
