"""One contract for every layout: what `open_features` gives is the same, whoever wrote the file."""

import pickle

import h5py
import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.core.provenance import canonical_json, identity_hash
from slidenet.stores import open_features

SIZES = {"slide_mpp": 0.5, "tile_size_px": 256, "target_mpp": 0.5}
MPP = {"slide_mpp": 0.2527}


WRITERS = {
    "slidenet": (lambda folder, toy, others: write_slidenet(folder, toy), {}),
    "clam": (lambda folder, toy, others: others.write_clam(folder), SIZES),
    "clam batch axis": (
        lambda folder, toy, others: others.write_clam(folder, batch_axis=True),
        SIZES,
    ),
    "clam patches": (lambda folder, toy, others: others.write_clam(folder, patches={}), MPP),
    "trident": (lambda folder, toy, others: others.write_trident(folder), {}),
    "stamp": (lambda folder, toy, others: others.write_stamp(folder), MPP),
    "slide2vec pt": (lambda folder, toy, others: others.write_slide2vec(folder), {}),
    "slide2vec npz": (lambda folder, toy, others: others.write_slide2vec(folder, ending="npz"), {}),
}
"""How a file of 12 tiles of each layout is written, and what its reader must be given."""


def write_slidenet(folder, toy):
    return toy.write_features(folder / "slide_1.h5", toy.make_tile_set(12), unreadable=(5,))


@pytest.fixture(params=WRITERS)
def written(request, tmp_path, toy, writers):
    """Path, sizes to give, layout."""
    write, given = WRITERS[request.param]
    return write(tmp_path, toy, writers), given, request.param.split()[0]


@pytest.fixture
def file(written):
    """The file opened."""
    path, given, _ = written
    return open_features(path, **given)


def num_handles():
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)


def test_facts(file, written):
    assert (file.path, file.layout, file.slide_id) == (written[0], written[2], "slide_1")
    assert (file.num_tiles, len(file), len(file.features)) == (12, 12, 12)
    assert file.features.shape == (12, file.feature_dim)
    assert min(file.slide_mpp, file.target_mpp, file.tile_size_px) > 0
    assert isinstance(file.tile_size_px, int)
    ours = file.layout == "slidenet"
    assert (file.fingerprint is not None) == (file.geometry is not None) == ours
    assert (file.encoder is not None) == (file.tissue_fraction is not None) == ours
    assert file.num_unreadable == (1 if ours else 0)


def test_identity_is_plain_and_the_same_every_time(file, written):
    again = open_features(written[0], **written[1])
    assert canonical_json(file.identity) == canonical_json(again.identity)
    assert file.identity_hash == identity_hash(file.identity)
    assert file.cohort_identity == file.identity  # no slide of these has `inputs` of its own


def test_arrays_have_their_types_and_belong_together(file):
    features, coords, mask = file.read()
    assert features.dtype in (np.float16, np.float32)
    assert file.dtype in (None, features.dtype)
    assert (coords.dtype, coords.shape) == (np.int64, (12, 2))
    assert len(np.unique(coords, axis=0)) == 12
    assert coords.min() >= 0
    assert (mask.dtype, mask.shape) == (np.bool_, (12,))
    assert np.flatnonzero(~mask).tolist() == ([5] if file.layout == "slidenet" else [])
    np.testing.assert_array_equal(file.features[:], features)
    np.testing.assert_array_equal(file.coords, coords)
    np.testing.assert_array_equal(file.mask, mask)
    np.testing.assert_array_equal(file.status, np.where(mask, 0, 1))


@pytest.mark.parametrize(
    "where", [slice(None), slice(3, 5), slice(10, 99), slice(5, 5), 4, [1, 4, 7], np.array([0, 11])]
)
def test_features_are_read_as_numpy_indexes(file, where):
    whole = file.features[:]
    np.testing.assert_array_equal(file.features[where], whole[where])


def test_nothing_stays_open(file):
    assert num_handles() == 0
    _ = file.features[:2], file.coords, file.mask, file.read()
    assert num_handles() == 0
    with file:
        first = file.features[:2]
        assert num_handles() == (0 if file.layout == "slide2vec" else 1)
    assert num_handles() == 0
    np.testing.assert_array_equal(file.features[:2], first)


def test_each_file_is_opened_once_to_know_it_and_once_to_read_it(written, monkeypatch):
    opened = []
    plain = h5py.File

    class Counted(plain):
        def __init__(self, name, *args, **kwargs):
            opened.append(str(name))
            super().__init__(name, *args, **kwargs)

    monkeypatch.setattr(h5py, "File", Counted)
    path, given, layout = written
    file = open_features(path, **given)
    file.read()
    assert opened.count(str(path)) == (0 if layout == "slide2vec" else 2)
    with file:
        _ = file.features[:3], file.features[3:], file.coords, file.mask
    assert opened.count(str(path)) == (0 if layout == "slide2vec" else 3)


def test_it_travels_to_another_process(file):
    with file:
        copy = pickle.loads(pickle.dumps(file))
    features, coords, mask = file.read()
    np.testing.assert_array_equal(copy.features[:], features)
    np.testing.assert_array_equal(copy.coords, coords)
    np.testing.assert_array_equal(copy.mask, mask)


def test_a_contradiction_with_what_is_given_is_refused(written):
    path, given, _ = written
    with pytest.raises(StoreError, match=r"says target_mpp .*, and 9 is given|px apart"):
        open_features(path, **{**given, "target_mpp": 9.0})


def test_a_file_that_goes_away_is_named(file, written):
    written[0].unlink()
    with pytest.raises(StoreError, match=rf"{written[0].name}"):
        file.features[:]
