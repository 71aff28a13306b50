"""Floor 2: tile encoders, from tile pixels to one feature vector per tile.

Listing and reading specs loads no torch; building an encoder does.
"""

from slidenet.tile_encoders.catalogue import DEFAULT_TILE_ENCODER, get_spec, list_tile_encoders
from slidenet.tile_encoders.encoder import TileEncoder
from slidenet.tile_encoders.loading import check_access, load_tile_encoder
from slidenet.tile_encoders.spec import (
    HubWeights,
    InputTransform,
    Pooling,
    Precision,
    TileEncoderSpec,
    TimmWeights,
    WheelWeights,
)

__all__ = [
    "DEFAULT_TILE_ENCODER",
    "HubWeights",
    "InputTransform",
    "Pooling",
    "Precision",
    "TileEncoder",
    "TileEncoderSpec",
    "TimmWeights",
    "WheelWeights",
    "check_access",
    "get_spec",
    "list_tile_encoders",
    "load_tile_encoder",
]
