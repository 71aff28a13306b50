import numpy as np
import pytest
import torch
from PIL import Image

from slidenet.tile_encoders import InputTransform
from slidenet.tile_encoders.transforms import normalise, resize_and_crop

PIL_FILTER = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def blobs(side: int, seed: int) -> np.ndarray:
    """A tile with edges, gradients and noise, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * rng.uniform(1, 12, 2) @ np.stack([x.ravel(), y.ravel()]))]
    waves += [np.sign(waves[0]), rng.normal(size=side * side)]
    image = np.stack([rng.normal(size=3) @ np.stack(waves) for _ in range(3)], axis=-1)
    return np.clip(128 + 60 * image.reshape(side, side, 3), 0, 255).astype(np.uint8)


def with_pil(tile: np.ndarray, transform: InputTransform) -> np.ndarray:
    side = transform.resize_px
    image = Image.fromarray(tile).resize((side, side), PIL_FILTER[transform.interpolation])
    corner = round((side - transform.input_px) / 2)
    box = (corner, corner, corner + transform.input_px, corner + transform.input_px)
    return np.asarray(image.crop(box))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [256, 300, 512])
@pytest.mark.parametrize(("resize_px", "input_px"), [(256, 224), (224, 224), (235, 224)])
def test_shrinking_stays_within_one_grey_level_of_pil(interpolation, side, resize_px, input_px):
    transform = InputTransform(input_px, resize_px, interpolation)
    tiles = np.stack([blobs(side, seed) for seed in range(2)])
    assert difference_from_pil(tiles, transform).max() <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [180, 224])
def test_enlarging_stays_within_two_grey_levels_and_almost_everywhere_one(interpolation, side):
    tiles = np.stack([blobs(side, seed) for seed in range(2)])
    difference = difference_from_pil(tiles, InputTransform(224, 256, interpolation))
    assert difference.max() <= 2
    assert (difference > 1).mean() < 1e-4


@pytest.mark.shared_data
@pytest.mark.parametrize(("resize_px", "input_px"), [(256, 224), (224, 224), (180, 160)])
def test_real_tiles_are_as_close_to_pil(shared_data, resize_px, input_px):
    paths = sorted((shared_data / "tiles_lc25000").rglob("*.jp*g"))[::400]
    tiles = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])
    difference = difference_from_pil(tiles, InputTransform(input_px, resize_px))
    assert difference.max() <= 2
    assert (difference > 1).mean() < 1e-4


def difference_from_pil(tiles: np.ndarray, transform: InputTransform) -> np.ndarray:
    batch = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    ours = resize_and_crop(transform)(batch).permute(0, 2, 3, 1).numpy().astype(int)
    theirs = np.stack([with_pil(tile, transform) for tile in tiles]).astype(int)
    return np.abs(ours - theirs)


def test_gigapath_keeps_the_pixels_of_a_256_px_tile_and_cuts_its_border():
    tile = torch.from_numpy(blobs(256, 0)).permute(2, 0, 1)[None]
    assert torch.equal(resize_and_crop(InputTransform(224, 256))(tile), tile[..., 16:240, 16:240])


def test_the_shorter_side_is_resized():
    batch = torch.zeros(1, 3, 256, 512, dtype=torch.uint8)
    batch[..., 128:384] = 200  # the centre square
    out = resize_and_crop(InputTransform(224, 224))(batch)
    assert out.shape == (1, 3, 224, 224)
    assert (out[..., 2:-2] == 200).all()  # the edge itself is blurred


def test_normalisation_is_per_channel_on_unit_pixels():
    transform = InputTransform(2, 2, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    batch = torch.tensor([255, 51, 0], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    out = normalise(transform)(batch)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([1.0, (0.2 - 0.25) / 0.25, 0.0]))


@pytest.mark.parametrize("input_px", [256, 224])
def test_looking_values_up_gives_the_same_bits_and_layout(input_px):
    transform = InputTransform(input_px, 256)
    tiles = np.stack([np.roll(blobs(256, 0), shift, axis=0) for shift in range(3)])
    tiles[0, :, :, 1] = np.arange(256)
    interleaved = resize_and_crop(transform)(torch.from_numpy(tiles).permute(0, 3, 1, 2))
    planar = interleaved.contiguous()
    steps = normalise(transform)
    assert not interleaved.is_contiguous()
    assert torch.equal(steps(interleaved), steps(planar))
    assert steps(interleaved).is_contiguous(memory_format=torch.channels_last)
    assert steps(planar).is_contiguous()
