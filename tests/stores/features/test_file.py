import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.stores import FeatureFile, part_of, read_features, write_tile_set


def test_what_describes_the_file(features_file, toy):
    file = read_features(features_file)
    assert file.slide_id == "slide_1"
    assert file.fingerprint == "sha256:feed"
    assert (file.num_tiles, len(file), file.feature_dim, file.num_unreadable) == (600, 600, 12, 2)
    assert file.geometry == toy.GEOMETRY
    assert file.identity == toy.RECIPE
    assert file.encoder == toy.ENCODER


def test_arrays(features_file, toy):
    with read_features(features_file) as file:
        np.testing.assert_array_equal(file.coords, toy.make_tile_set().coords)
        np.testing.assert_array_equal(file.tissue_fraction, toy.make_tile_set().tissue_fraction)
        assert np.flatnonzero(~file.mask).tolist() == [5, 300]
        assert file.status.dtype == np.uint8
        wanted = toy.features_of(250, 260).astype(np.float16)
        np.testing.assert_array_equal(file.features[250:260], wanted)


def num_handles():
    """Files that HDF5 holds open in this process."""
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)


def test_a_handle_is_open_in_a_with_block_only(features_file):
    file = read_features(features_file)
    assert num_handles() == 0
    assert file.features.shape == (600, 12)
    assert file.features.dtype == np.float16
    assert len(file.features[[3, 7]]) == 2
    assert num_handles() == 0
    with file:
        assert num_handles() == 1
        assert file.features[:2].shape == (2, 12)
        assert file.coords.shape == (600, 2)
        assert num_handles() == 1
    assert num_handles() == 0
    assert np.asarray(file.features, dtype=np.float64).dtype == np.float64


def test_a_block_that_fails_closes_its_handle(features_file):
    with pytest.raises(ZeroDivisionError), read_features(features_file):
        _ = 1 / 0
    assert num_handles() == 0


def test_features_that_spoil_later(features_file):
    file = read_features(features_file)
    with h5py.File(features_file) as h5:
        place = h5["features"].id.get_chunk_info(1).byte_offset
    data = bytearray(features_file.read_bytes())
    data[place] ^= 0xFF
    features_file.write_bytes(data)
    with file:
        assert file.features[:256].shape == (256, 12)
        with pytest.raises(StoreError, match=r"slide_1.h5 cannot be read as HDF5"):
            file.features[256:]
    features_file.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        file.features[0]


def test_it_travels_to_another_process(features_file):
    with read_features(features_file) as file:
        wanted = file.features[0]
        copy = pickle.loads(pickle.dumps(file))
        np.testing.assert_array_equal(copy.features[0], wanted)
        assert num_handles() == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_its_own_handle(features_file):
    context = multiprocessing.get_context("fork")
    with read_features(features_file) as file:
        assert file.features[0].any()
        mine = file._opened[-1][1].id.id
        queue = context.Queue()
        process = context.Process(target=put_handle, args=(file, mine, queue))
        process.start()
        assert queue.get(timeout=30) is True
        process.join()
        assert file.features[599].shape == (12,)


def put_handle(file: FeatureFile, parents: int, queue):
    with file._handle() as handle:
        queue.put(file.features[599].shape == (12,) and handle.id.id != parents)


def test_a_read_only_file_can_be_read(features_file):
    features_file.chmod(0o444)
    with read_features(features_file) as file:
        assert file.features[:].shape == (600, 12)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_truncated(features_file, share):
    data = features_file.read_bytes()
    features_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StoreError, match=r"slide_1.h5 cannot be read as HDF5.*delete it"):
        read_features(features_file)


def test_another_kind_of_ours(tmp_path, tile_set):
    path = write_tile_set(tmp_path / "tiles.h5", tile_set)
    with pytest.raises(StoreError, match=r"a slidenet.tiles file, not a slidenet.features file"):
        read_features(path)


def test_a_slide_without_tissue_can_be_opened(tmp_path, toy):
    file = read_features(toy.write_features(tmp_path / "empty.h5", toy.make_tile_set(0)))
    assert (len(file), file.features[:].shape, file.coords.shape) == (0, (0, 12), (0, 2))
    with pytest.raises(StoreError, match=r"empty.h5 holds 0 tiles .*expected at least one"):
        file.check_any_tile()


def test_a_future_version(features_file):
    with h5py.File(features_file, "r+") as file:
        file["slidenet"].attrs["format_version"] = np.int64(3)
    with pytest.raises(StoreError, match="format version is 3, this slidenet reads up to 2"):
        read_features(features_file)


def zero_a_chunk(path):
    """Zeros over a chunk and its checksum, which HDF5 takes for sound."""
    with h5py.File(path) as h5:
        chunk = h5["features"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(data)


def test_rows_read_from_first_to_last_are_proved(features_file):
    zero_a_chunk(features_file)
    file = read_features(features_file)
    rows = file.features
    rows[300:400], rows[0:256]  # in no order: nothing is known
    with pytest.raises(StoreError, match="/features is not what was written"):
        [rows[start : start + 100] for start in range(0, 600, 100)]
    for whole in (file.read, file.prove, lambda: file.features[:]):
        with pytest.raises(StoreError, match="/features is not what was written"):
            whole()
    part = part_of(file, np.arange(3), "part", file.status)
    with pytest.raises(StoreError, match="/features is not what was written"):
        part.read()


def test_a_file_is_proved_once_in_a_process(features_file):
    file = read_features(features_file)
    file.read()
    times = features_file.stat().st_atime_ns, features_file.stat().st_mtime_ns
    zero_a_chunk(features_file)
    os.utime(features_file, ns=times)
    file.read()  # as it was by all that is cheap to see: a later epoch
    file.prove()
    os.utime(features_file)
    with pytest.raises(StoreError, match="/features is not what was written"):
        file.read()


def test_what_lies_beside_the_features_is_proved_with_them(features_file):
    with h5py.File(features_file) as h5:
        chunk = h5["slidenet/tissue_fraction"].id.get_chunk_info(0)
    data = bytearray(features_file.read_bytes())
    for damage, message in (
        (bytes(chunk.size), "/slidenet/tissue_fraction is not what was written"),
        (bytes(8) + data[chunk.byte_offset + 8 :][: chunk.size - 8], "cannot be read as HDF5"),
    ):
        data[chunk.byte_offset : chunk.byte_offset + chunk.size] = damage
        features_file.write_bytes(data)
        with pytest.raises(StoreError, match=message):
            read_features(features_file).read()
