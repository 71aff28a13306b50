import multiprocessing
import pickle

import h5py
import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.stores import FeatureFile, read_features


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
        np.testing.assert_array_equal(file.coords, toy.choose_tiles().coords)
        np.testing.assert_array_equal(file.tissue_fraction, toy.choose_tiles().tissue_fraction)
        assert np.flatnonzero(~file.mask).tolist() == [5, 300]
        assert file.status.dtype == np.uint8
        wanted = toy.features_of(250, 260).astype(np.float16)
        np.testing.assert_array_equal(file.features[250:260], wanted)


def test_the_handle_opens_on_use_and_closes(features_file):
    file = read_features(features_file)
    with file:
        assert file.features.shape == (600, 12)
        assert file.features.dtype == np.float16
        assert file._h5 is None
        assert len(file.features[[3, 7]]) == 2
        assert file._h5
    assert file._h5 is None
    assert np.asarray(file.features, dtype=np.float64).dtype == np.float64  # and opens again
    file.close()


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
        assert copy._h5 is None
        np.testing.assert_array_equal(copy.features[0], wanted)
        copy.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_its_own_handle(features_file):
    context = multiprocessing.get_context("fork")
    with read_features(features_file) as file:
        assert file.features[0].any()
        mine = file._h5.id.id
        queue = context.Queue()
        process = context.Process(target=put_handle, args=(file, mine, queue))
        process.start()
        assert queue.get(timeout=30) is True
        process.join()
        assert file.features[599].shape == (12,)


def put_handle(file: FeatureFile, parents: int, queue):
    queue.put(file.features[599].shape == (12,) and file._h5.id.id != parents)


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


def test_made_by_something_else(tmp_path):
    path = tmp_path / "clam.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = np.zeros((3, 2)), np.zeros((3, 2), np.int64)
    with pytest.raises(StoreError, match=r"clam.h5: it has no group /slidenet"):
        read_features(path)


def test_a_future_version(features_file):
    with h5py.File(features_file, "r+") as file:
        file["slidenet"].attrs["format_version"] = np.int64(2)
    with pytest.raises(StoreError, match="format version is 2, this slidenet reads up to 1"):
        read_features(features_file)
