"""Floor 3: the slide-encoder protocol, LongNet, its coordinates and its embedding recipes."""

from slidenet.slide_encoders.coords.contract import CoordinateWarning, checked_grid_xy
from slidenet.slide_encoders.coords.grid import grid_cells
from slidenet.slide_encoders.encoder import LongNetEncoder
from slidenet.slide_encoders.load import (
    SLIDE_ENCODERS,
    list_slide_encoders,
    load_slide_encoder,
)
from slidenet.slide_encoders.longnet.checkpoint import save_checkpoint
from slidenet.slide_encoders.longnet.config import (
    LONGNET_CONFIGS,
    LongNetConfig,
    published_segments,
)
from slidenet.slide_encoders.longnet.model import LongNetViT
from slidenet.slide_encoders.longnet.tokens import TokenLayout, TokenSharding
from slidenet.slide_encoders.pooling import PoolingEncoder, mean, mean_std
from slidenet.slide_encoders.protocol import SlideEncoder
from slidenet.slide_encoders.recipes import RECIPES, EmbeddingRecipe

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "CoordinateWarning",
    "EmbeddingRecipe",
    "LONGNET_CONFIGS",
    "LongNetConfig",
    "LongNetEncoder",
    "LongNetViT",
    "PoolingEncoder",
    "RECIPES",
    "SLIDE_ENCODERS",
    "SlideEncoder",
    "TokenLayout",
    "TokenSharding",
    "checked_grid_xy",
    "grid_cells",
    "list_slide_encoders",
    "load_slide_encoder",
    "mean",
    "mean_std",
    "published_segments",
    "save_checkpoint",
]
