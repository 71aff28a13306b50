"""h5 files that lead elsewhere or claim what is not there, in our layout and in another one."""

import h5py
import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.stores import open_features, read_tile_set, validate_file, write_tile_set
from slidenet.stores.h5.plain import heap_problem

SECRET = b"the neighbour's patients" * 2000


_MADE: dict[str, bytes] = {}


@pytest.fixture
def world(tmp_path, toy, writers):
    """A features file of ours, one of TRIDENT, and what they may be made to lead to."""
    ours, other = tmp_path / "ours" / "slide_1.h5", tmp_path / "other.h5"
    ours.parent.mkdir()
    if not _MADE:
        _MADE["ours"] = toy.write_features(ours, toy.make_tile_set(12)).read_bytes()
    ours.write_bytes(_MADE["ours"])
    other.write_bytes(_MADE["ours"])
    (tmp_path / "secret.bin").write_bytes(SECRET)
    return {"ours": ours, "theirs": writers.write_trident(tmp_path / "theirs"), "other": other}


def external_link(h5, folder):
    del h5["features"]
    h5["features"] = h5py.ExternalLink(str(folder / "other.h5"), "/features")


def link_to_nothing(h5, folder):
    del h5["features"]
    h5["features"] = h5py.ExternalLink("/nowhere.h5", "/x")


def soft_link(h5, folder):
    h5.move("coords", "elsewhere")
    h5["coords"] = h5py.SoftLink("/elsewhere")


def link_to_itself(h5, folder):
    del h5["coords"]
    h5["coords"] = h5py.SoftLink("/coords")


def external_storage(h5, folder):
    shape, dtype = h5["features"].shape, h5["features"].dtype
    del h5["features"]
    place = [(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
    h5.create_dataset("features", shape, dtype, external=place)


def virtual(h5, folder):
    shape, dtype = h5["features"].shape, h5["features"].dtype
    del h5["features"]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "features", shape=shape)
    h5.create_virtual_dataset("features", layout)


def never_written(h5, folder):
    shape, dtype = h5["features"].shape, h5["features"].dtype
    del h5["features"]
    h5.create_dataset("features", shape, dtype, chunks=(4, shape[1]))


def half_written(h5, folder):
    never_written(h5, folder)
    h5["features"][:5] = 1


def never_written_in_one_piece(h5, folder):
    shape, dtype = h5["features"].shape, h5["features"].dtype
    del h5["features"]
    h5.create_dataset("features", shape, dtype)


def absurd(h5, folder):
    for name, width in (("coords", (2,)), ("features", h5["features"].shape[1:])):
        dtype, attributes = h5[name].dtype, dict(h5[name].attrs)
        del h5[name]
        h5.create_dataset(name, (10**11, *width), dtype, chunks=(1024, *width))
        h5[name].attrs.update(attributes)
    if "slidenet" in h5:
        h5["slidenet"].attrs["num_tiles"] = np.int64(10**11)


def bomb(h5, folder):
    width = h5["features"].shape[1]
    del h5["features"]
    rows = 2**27 // width
    made = h5.create_dataset(
        "features",
        (rows, width),
        "f4",
        chunks=(rows, width),
        compression="gzip",
        compression_opts=1,
    )
    made.id.write_direct_chunk((0, 0), b"\x78\x01" + bytes(64))


def filter_of_nobody(h5, folder):
    shape = h5["features"].shape
    del h5["features"]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(shape)
    settings.set_filter(32123, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(
        h5.id, b"features", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), settings
    )


HOSTILE = {
    external_link: "/features is an external link",
    link_to_nothing: "/features is an external link",
    soft_link: "/coords is a soft link",
    link_to_itself: "/coords is a soft link",
    external_storage: "/features is stored outside the file, in ",
    virtual: "/features is a virtual dataset",
    never_written: "never written whole: 0 of 3 chunks",
    half_written: "never written whole: 2 of 3 chunks",
    never_written_in_one_piece: "never written whole: 0 of ",
    absurd: "never written whole: 0 of 97656250 chunks",
    bomb: "512 MiB that would be unpacked from 66 bytes",
    filter_of_nobody: "compressed by the HDF5 filter 32123",
}


@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_data_that_are_elsewhere_or_nowhere_are_refused(world, tmp_path, spoil, whose):
    with h5py.File(world[whose], "r+") as h5:
        spoil(h5, tmp_path)
    with pytest.raises(StoreError) as refused:
        open_features(world[whose])
    assert HOSTILE[spoil] in str(refused.value)
    assert "\n" not in str(refused.value)
    if whose == "ours":
        assert any(HOSTILE[spoil] in problem for problem in validate_file(world["ours"]))


def test_a_group_that_lies_elsewhere_is_not_followed(world):
    with h5py.File(world["ours"], "r+") as h5:
        del h5["slidenet"]
        h5["slidenet"] = h5py.ExternalLink(str(world["other"]), "/slidenet")
    for refused in (open_features, read_tile_set):
        with pytest.raises(StoreError, match="/slidenet is an external link"):
            refused(world["ours"])
    (problem,) = validate_file(world["ours"])
    assert "/slidenet is an external link" in problem


def numbers(name, value):
    return lambda group: group.attrs.__setitem__(name, value)


def text(name, value):
    return lambda group: group.attrs.__setitem__(name, value)


WRONG_CLAIMS = {
    "'level' is 99": numbers("level", np.int64(99)),
    "'level' is -1": numbers("level", np.int64(-1)),
    "'level' is 3, but 'read_mpp'": numbers("level", np.int64(3)),
    "'tile_size_px' is 1000000": numbers("tile_size_px", np.int64(10**6)),
    "'tile_size_px' is 0": numbers("tile_size_px", np.int64(0)),
    "'read_size_px' is 1000000": numbers("read_size_px", np.int64(10**6)),
    "'level' is an array": numbers("level", np.zeros(3, np.int64)),
    "'recipe' is nested deeper": text("recipe", '{"a":' * 90 + "1" + "}" * 90),
    "'recipe' is no JSON": text("recipe", '{"a":' * 6000 + "1" + "}" * 6000),
    "'recipe' is no JSON (NaN": text("recipe", '{"a":NaN}'),
    "is about slide '../../x'": text("slide_id", "../../x"),
}


@pytest.mark.parametrize("message", WRONG_CLAIMS)
def test_claims_no_slide_can_meet_are_refused(tmp_path, toy, message):
    path = write_tile_set(tmp_path / "slide_1.h5", toy.make_tile_set(12))
    with h5py.File(path, "r+") as h5:
        WRONG_CLAIMS[message](h5["slidenet"])
    assert any(message in problem for problem in validate_file(path))
    with pytest.raises(StoreError):
        read_tile_set(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patch_size", "many", "is 'many'; expected a number of 0 or more"),
        ("patch_size", np.nan, "is 'nan'; expected a number"),
        ("patch_size", 0.5, "tile_size_px 0.5; expected 1 or more"),
        ("level0_magnification", -40, "is '-40'"),
        ("target_magnification", np.inf, "is 'inf'"),
        ("target_magnification", 1e300, "is '1e.300'"),
    ],
)
def test_claims_of_strangers_are_numbers(world, name, value, message):
    with h5py.File(world["theirs"], "r+") as h5:
        h5["coords"].attrs[name] = value
    with pytest.raises(StoreError, match=message):
        open_features(world["theirs"])


def test_a_heap_of_zeros_is_found_before_hdf5_walks_it_for_ever(world):
    assert heap_problem(world["theirs"], whole=True) == ""
    data = bytearray(world["theirs"].read_bytes())
    heap = data.find(b"GCOL")
    data[heap + 16 : heap + 512] = bytes(496)
    world["theirs"].write_bytes(data)
    with pytest.raises(StoreError, match=r"the text on its heap at byte \d+ is spoilt"):
        open_features(world["theirs"])


def test_text_for_other_programs_is_compared(world):
    data = world["ours"].read_bytes()
    heap = data.find(b"GCOL")
    at = data.find(b"slide_1", heap)
    world["ours"].write_bytes(data[:at] + b"slide_2" + data[at + 7 :])
    problems = validate_file(world["ours"])
    assert problems
    assert "'slide_2'; expected 'slide_1'" in problems[0]
