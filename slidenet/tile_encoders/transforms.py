"""Preprocessing of uint8 batches: geometry on the CPU, arithmetic wherever the module lies."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2

from slidenet.tile_encoders.spec import InputTransform

if TYPE_CHECKING:
    from torch import Tensor


def resize_and_crop(transform: InputTransform) -> "Callable[[Tensor], Tensor]":
    """The geometric part: uint8 (B, 3, H, W) in, uint8 (B, 3, input_px, input_px) out, on the CPU.

    Models were trained on images that PIL resized, antialiased and rounded after each direction.
    torch's uint8 kernel does the same: within one grey level of PIL when shrinking, within two (at
    fewer than one pixel in ten thousand) when enlarging. Its float kernels, the only ones on a
    GPU, are up to 25 levels off at saturated edges; hence the CPU.
    """
    resize = v2.Resize(
        transform.resize_px,
        interpolation=InterpolationMode(transform.interpolation),
        antialias=True,
    )
    # No closure, so that an encoder can be sent to another process.
    return partial(_on_cpu, v2.Compose([resize, v2.CenterCrop(transform.input_px)]))


def _on_cpu(geometry: v2.Compose, tiles: "Tensor") -> "Tensor":
    out: Tensor = geometry(tiles.cpu())
    return out


def normalise(transform: InputTransform) -> "Callable[[Tensor], Tensor]":
    """The numeric part: uint8 in [0, 255] to float32 `(x / 255 - mean) / std`, on any device.

    On the CPU it is looked up, in a quarter of the time and to the same bits: a channel has only
    256 values.
    """
    steps: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(transform.mean), std=list(transform.std)),
        ]
    )
    every_value = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    table = steps(every_value)[0, :, 0].T.reshape(1, 256, 3).contiguous()
    return partial(_normalised, steps, table)


def _normalised(steps: "Callable[[Tensor], Tensor]", table: "Tensor", pixels: "Tensor") -> "Tensor":
    # The layout in memory stays as it is, since the last bits of a convolution depend on it.
    interleaved = pixels.stride()[1] == 1 and pixels.stride()[3] == pixels.shape[1]
    if pixels.device.type != "cpu" or not interleaved:
        return steps(pixels)
    tiles = pixels.permute(0, 2, 3, 1).numpy()
    images = np.empty(tiles.shape, np.float32)
    for tile, image in zip(tiles, images, strict=True):
        cv2.LUT(tile, table.numpy(), dst=image)
    return torch.from_numpy(images).permute(0, 3, 1, 2)
