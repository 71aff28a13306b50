"""Preprocessing of uint8 batches, on whatever device they lie."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torchvision.transforms import InterpolationMode, v2

from slidenet.tile_encoders.spec import InputTransform

if TYPE_CHECKING:
    from torch import Tensor


def resize_and_crop(transform: InputTransform) -> "Callable[[Tensor], Tensor]":
    """The geometric part: uint8 (B, 3, H, W) in, uint8 (B, 3, input_px, input_px) out.

    Antialiased, so within one grey level of what PIL gives, which is what the models were
    trained on.
    """
    resize = v2.Resize(
        transform.resize_px,
        interpolation=InterpolationMode(transform.interpolation),
        antialias=True,
    )
    return v2.Compose([resize, v2.CenterCrop(transform.input_px)])  # type: ignore[no-any-return]


def make_transform(transform: InputTransform) -> "Callable[[Tensor], Tensor]":
    """The whole of it: uint8 (B, 3, H, W) in, normalised float32 (B, 3, input_px, input_px) out."""
    return v2.Compose(  # type: ignore[no-any-return]
        [
            resize_and_crop(transform),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(transform.mean), std=list(transform.std)),
        ]
    )
