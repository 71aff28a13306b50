import hashlib
import json

import h5py
import numpy as np
import pytest

from slidenet.stores import write_slide_embedding, write_tile_set
from slidenet.stores.h5.digests import (
    check_digests,
    content_digest,
    digest_of,
    digest_of_array,
    read_digests,
)


def problems(path, *, deep=True):
    with h5py.File(path) as h5:
        return check_digests(h5, path, deep=deep)


def test_a_digest_is_what_the_specification_says(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        data = np.arange(6, dtype=np.float32).reshape(3, 2)
        h5["a"] = data
        h5["a"].attrs["side"] = np.int64(3)
        h5["a"].attrs["name"] = "text for loaders, of variable length"
        by_hand = hashlib.blake2b(b"<f4 [3, 2]\n" + data.tobytes(), digest_size=16)
        by_hand.update(b'{"side": ["<i8", [], "0300000000000000"]}')
        assert digest_of(h5["a"]) == by_hand.hexdigest()
        assert digest_of_array(data, {"side": np.int64(3)}) == by_hand.hexdigest()
        h5["big"] = data.astype(">f4")
        assert digest_of(h5["big"]) == digest_of_array(data)


def test_every_file_carries_the_digests_of_all_it_holds(features_file, tmp_path, tile_set):
    tiles = write_tile_set(tmp_path / "t.h5", tile_set)
    embedding = write_slide_embedding(
        tmp_path / "e.h5", [1.0, 2.0], slide_id="slide_1", fingerprint="f", identity={"a": 1},
        encoder_identity={"b": 2}, num_tiles=3, features_digest="0" * 32,
    )  # fmt: skip
    for path in (features_file, tiles, embedding):
        with h5py.File(path) as h5:
            found = read_digests(h5, path)
            names = []
            h5.visititems(lambda name, what, names=names: names.append((name, what)))
            assert found == {name: digest_of(what) for name, what in names}
        assert problems(path) == []
    with h5py.File(embedding) as h5:
        assert h5["slidenet"].attrs["features_digest"] == b"0" * 32


def test_features_name_their_tiles_and_not_who_wrote_them(features_file, tmp_path, tile_set):
    tiles = write_tile_set(tmp_path / "t.h5", tile_set)
    with h5py.File(tiles, "r+") as h5:
        digest = content_digest(read_digests(h5, tiles))
        h5["slidenet"].attrs["software_version"] = "another"
        assert content_digest({**read_digests(h5, tiles), "slidenet": "0"}) == digest
    with h5py.File(features_file) as h5:
        assert h5["slidenet"].attrs["tiles_digest"].decode() == digest


@pytest.mark.parametrize("name", ["features", "coords", "slidenet/status"])
def test_a_chunk_zeroed_with_its_checksum_is_found(features_file, name):
    with h5py.File(features_file) as h5:
        chunk = h5[name].id.get_chunk_info(0)
    data = bytearray(features_file.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    features_file.write_bytes(data)
    with h5py.File(features_file) as h5:
        assert not h5[name][:100].any()  # HDF5 finds nothing
    wrong = [f"/{name} is not what was written (its digest is another one)"]
    assert problems(features_file) == wrong
    assert problems(features_file, deep=False) == ([] if name == "features" else wrong)


def test_changed_attributes_are_found_without_reading_data(features_file):
    with h5py.File(features_file, "r+") as h5:
        h5["slidenet"].attrs["slide_mpp"] = 0.25
        h5["coords"].attrs["overlap"] = np.int64(9)
    group, coords = problems(features_file, deep=False)
    assert group.startswith("the attributes of /slidenet are not what was written")
    assert coords.startswith("/coords is not")


def test_digests_that_are_incomplete_are_found(features_file):
    with h5py.File(features_file, "r+") as h5:
        digests = json.loads(h5["slidenet"].attrs["digests"])
        del digests["features"]
        digests["slidenet/region"] = "0"
        h5["slidenet"].attrs["digests"] = json.dumps(digests)
    assert problems(features_file) == [
        "/features has no digest, though other parts of the file have one",
        "/slidenet/region is missing, though there is a digest of it",
    ]
