import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slidenet.core.errors import PixelReadError, SlideError, UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.testing import corrupt_tile, write_pyramid


@pytest.fixture
def hurt_slide(tmp_path, noise_image):
    def paint(x, y, width, height):
        return noise_image[y : y + height, x : x + width]

    path = write_pyramid(tmp_path / "hurt.tif", 1500, 1500, 0.5, paint)
    corrupt_tile(path, (700, 700))  # the file's tile from (512, 512) to (768, 768)
    return path


def test_threads_do_not_suffer_from_each_others_failures(hurt_slide, noise_image):
    places = [(x, y) for y in range(0, 1280, 128) for x in range(0, 1280, 128)] * 3

    def right(place):
        x, y = place
        try:
            pixels = slide.read_region(place, 0, (128, 128))
        except PixelReadError:
            return None
        return bool((pixels == noise_image[y : y + 128, x : x + 128]).all())

    with open_slide(hurt_slide, reader="openslide") as slide, ThreadPoolExecutor(8) as pool:
        outcome = list(pool.map(right, places))
    hurt = [512 <= x < 768 and 512 <= y < 768 for x, y in places]
    assert outcome == [None if bad else True for bad in hurt]


def test_a_slide_that_vanishes_is_no_pixel_error(hurt_slide):
    with open_slide(hurt_slide, reader="openslide") as slide:
        hurt_slide.unlink()
        with pytest.raises(UnreadableSlideError, match="cannot open it"):
            slide.read_region((600, 600), 0, (10, 10))


def test_reading_after_close(noise_slide):
    slide = open_slide(noise_slide, reader="openslide")
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region((0, 0), 0, (10, 10))


def test_a_pickled_slide_reads_the_same(noise_slide):
    slide = open_slide(noise_slide, mpp=0.3, icc=True, reader="openslide")
    copy = pickle.loads(pickle.dumps(slide))
    assert copy.slide_mpp == slide.slide_mpp
    assert copy.fingerprint == slide.fingerprint
    np.testing.assert_array_equal(
        copy.read_region((5, 6), 0, (50, 60)), slide.read_region((5, 6), 0, (50, 60))
    )


def _sum_of_region(queue, slide):
    queue.put(int(slide.read_region((0, 0), 0, (600, 600)).sum()))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_its_own_handle(noise_slide, noise_image):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with open_slide(noise_slide, reader="openslide") as slide:
        slide.read_region((0, 0), 0, (10, 10))
        children = [context.Process(target=_sum_of_region, args=(queue, slide)) for _ in range(3)]
        for child in children:
            child.start()
        sums = {queue.get(timeout=60) for _ in children}
        for child in children:
            child.join()
    assert sums == {int(noise_image[:600, :600].sum())}
