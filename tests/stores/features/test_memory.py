"""Features that stay in memory: within the bytes, once each, and not in every worker."""

import math
import multiprocessing
import pickle

import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.stores import FeatureMemory, open_features

BYTES = 600 * (12 * 2 + 2 * 8 + 1)  # of the file `features_file`


def test_what_is_kept_is_read_once(features_file):
    file, memory = open_features(features_file), FeatureMemory(BYTES)
    assert memory.has_room_for(file)
    first = memory.read(file)
    features_file.unlink()
    assert memory.read(file) is first
    assert sum(array.nbytes for array in first) == BYTES
    assert [array.dtype for array in first] == [np.float16, np.int64, np.bool_]


@pytest.mark.parametrize("max_bytes", [0, BYTES - 1])
def test_what_has_no_room_is_read_every_time(features_file, max_bytes):
    file, memory = open_features(features_file), FeatureMemory(max_bytes)
    assert not memory.has_room_for(file)
    np.testing.assert_array_equal(memory.read(file).features, memory.read(file).features)
    features_file.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        memory.read(file)


def test_the_room_is_for_all_files(toy, tmp_path):
    memory = FeatureMemory(BYTES * 1.5)
    files = [
        open_features(toy.write_features(tmp_path / f"{i}.h5", toy.make_tile_set()))
        for i in range(2)
    ]
    memory.read(files[0])
    assert [memory.has_room_for(file) for file in files] == [True, False]


def test_it_is_pickled_empty_and_then_adds_nothing(features_file):
    file, memory = open_features(features_file), FeatureMemory()
    memory.read(file)
    copy = pickle.loads(pickle.dumps(memory))
    features_file.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        copy.read(file)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("max_bytes", "kept"), [(10 * BYTES, [True, False]), (math.inf, [True] * 2)]
)
def test_a_forked_worker_uses_what_it_got_and_adds_only_without_bound(
    toy, tmp_path, max_bytes, kept
):
    memory = FeatureMemory(max_bytes)
    files = [
        open_features(toy.write_features(tmp_path / f"{i}.h5", toy.make_tile_set()))
        for i in range(2)
    ]
    memory.read(files[0])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=put_room, args=(memory, files, queue))
    process.start()
    assert queue.get(timeout=30) == kept
    process.join()


def put_room(memory, files, queue):
    queue.put([memory.has_room_for(file) for file in files])
