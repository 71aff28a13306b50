"""Tiles to features in a stream: the same numbers whoever works, errors where they belong."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from slidenet.core.errors import EncoderError
from slidenet.core.records import TileSet
from slidenet.data import TileStream
from slidenet.slides import open_slide, plan_tiles, read_tile
from slidenet.testing import write_synthetic_slide
from slidenet.tile_encoders import InputTransform, TileEncoder

SIDE = 32
NUM_TILES = 45


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "slide.tiff"
    write_synthetic_slide(path, 512, 512, 0.5, seed=1)
    with open_slide(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def tile_set(slide):
    geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=SIDE)
    coords = np.array([(x, y) for y in range(0, 512, SIDE) for x in range(0, 512, SIDE)])
    return TileSet(
        slide_id="slide",
        slide_path=str(slide.path),
        fingerprint=slide.fingerprint,
        geometry=geometry,
        coords=coords[:NUM_TILES],
        tissue_fraction=np.ones(NUM_TILES, np.float32),
        identity={},
    )


class MeanColour(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


@dataclass
class Counting:
    """An engine that counts its callers and ends later batches first."""

    num_parallel: int = 1
    slow: bool = False
    most: int = 0
    name: str = "torch"
    version: str = "1"
    batch_size: int = 8
    poison: float = 0.0
    sizes: list = field(default_factory=list)
    _now: int = field(default=0, init=False)

    def run(self, images):
        with LOCK:
            self._now += 1
            self.most = max(self.most, self._now)
            first = self._now == 1
            self.sizes.append(len(images))
        if self.slow and first:
            time.sleep(0.02)
        with LOCK:
            self._now -= 1
        return images.float().mean(dim=(2, 3)) / 255 + self.poison


LOCK = threading.Lock()


def encoder_with(engine=None):
    unit = InputTransform(SIDE, SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    encoder = TileEncoder.from_module(MeanColour(), name="mean", transform=unit)
    if engine is not None:
        encoder.engine = engine
    return encoder


def stream_all(stream, slide, tile_set, **more):
    batches = list(stream.features(slide, tile_set, **more))
    starts = [batch.start for batch in batches]
    assert starts == sorted(starts)
    return np.concatenate([batch.features for batch in batches]), starts


def test_features_are_those_of_the_tiles_in_order(slide, tile_set):
    with TileStream(encoder_with(), batch_size=8, num_readers=2) as stream:
        features, starts = stream_all(stream, slide, tile_set)
        rest, _ = stream_all(stream, slide, tile_set, start=16)
    assert starts == list(range(0, NUM_TILES, 8))
    tiles = [read_tile(slide, tile_set.geometry, location) for location in tile_set.coords]
    np.testing.assert_allclose(features, np.mean(tiles, axis=(1, 2)) / 255, atol=1e-5)
    np.testing.assert_array_equal(rest, features[16:])


def test_bytes_do_not_depend_on_who_works(slide, tile_set):
    alone, many = Counting(), Counting(num_parallel=3, slow=True)
    with TileStream(encoder_with(alone), 4, 1) as stream:
        expected, _ = stream_all(stream, slide, tile_set)
    with (
        TileStream(encoder_with(many), 4, 3) as stream,
        pickle.loads(pickle.dumps(stream)) as elsewhere,
    ):
        found, _ = stream_all(elsewhere, slide, tile_set)
        again, _ = stream_all(stream, slide, tile_set)
    assert alone.most == 1
    assert many.most > 1
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again, expected)


def test_the_next_slide_is_told_before_the_last_features(slide, tile_set):
    told = []
    with TileStream(encoder_with(), 4, 2) as stream:
        for batch in stream.features(
            slide, tile_set, nearly_read=lambda: told.append(True) if not told else None
        ):
            told_by_then = bool(told)
            if batch.start == 0:
                assert not told_by_then
    assert told_by_then


def test_an_error_of_the_encoder_comes_out_and_ends_the_stream(slide, tile_set):
    with (
        TileStream(encoder_with(Counting(poison=float("nan"))), 4, 2) as stream,
        pytest.raises(EncoderError, match="not finite"),
    ):
        list(stream.features(slide, tile_set))
    assert not [t for t in threading.enumerate() if t.name.startswith(("tile-reader", "tile-enc"))]


def test_slides_streamed_together_get_the_same_features(slide, tile_set):
    encoder = encoder_with(Counting(slow=True, num_parallel=2))
    with TileStream(encoder, 32, 2) as stream, ThreadPoolExecutor(3) as slides:
        found = list(slides.map(lambda _: stream_all(stream, slide, tile_set)[0], range(6)))
    assert all(np.array_equal(one, found[0]) for one in found)


def test_threads_share_the_cores_and_leave_the_setting_as_it_was(slide, tile_set):
    """PyTorch's own threads in each of the encoder's: no more than there were in all."""
    seen = []

    class Looking(Counting):
        def run(self, images):
            seen.append(torch.get_num_threads())
            return super().run(images)

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with TileStream(encoder_with(Looking(num_parallel=2)), 4, 2) as stream:
            stream_all(stream, slide, tile_set)
        assert torch.get_num_threads() == 4
        with TileStream(encoder_with(Looking(num_parallel=1)), 4, 2) as stream:
            stream_all(stream, slide, tile_set)
    finally:
        torch.set_num_threads(before)
    assert set(seen[:12]) == {2}
    assert set(seen[12:]) == {4}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_lined_up_on_a_gpu_are_those_encoded_alone(slide, tile_set):
    unit = InputTransform(SIDE, SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.AdaptiveAvgPool2d(1))
    module.append(torch.nn.Flatten())
    encoder = TileEncoder.from_module(module, name="conv", transform=unit, device="cuda")
    assert encoder.engine.num_parallel > 1
    tiles = np.stack([read_tile(slide, tile_set.geometry, at) for at in tile_set.coords])
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    expected = torch.cat([encoder.encode(batch) for batch in images.split(4)]).numpy()
    with TileStream(encoder, 4, 3) as stream:
        for _ in range(5):
            found, _ = stream_all(stream, slide, tile_set)
            np.testing.assert_array_equal(found, expected)
