import numpy as np

from slidenet.slides.recycling import RecycledMemory


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_only_when_the_last_view_is_gone():
    memory = RecycledMemory()
    first = memory.empty((4, 8, 8, 3))
    first[:] = 7
    place, kept = address(first), first[2:].reshape(-1)[5:]
    assert address(memory.empty((4, 8, 8, 3))) != place
    del first
    other = memory.empty((4, 8, 8, 3))
    other[:] = 1
    assert (kept == 7).all()
    del kept
    again = memory.empty((8, 4, 8, 3))  # of the same bytes
    assert address(again) == place
    assert again.flags.c_contiguous
    assert again.flags.writeable


def test_memory_that_waits_is_bounded():
    memory = RecycledMemory(max_spare_bytes=1000)
    arrays = [memory.empty((400,)) for _ in range(4)]
    places = {address(array) for array in arrays}
    del arrays
    assert memory._spare_bytes == 800
    assert len(places & {address(memory.empty((400,)))}) == 1
    np.testing.assert_array_equal(memory.empty((3, 0)).shape, (3, 0))
