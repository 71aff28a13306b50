"""slidenet: whole-slide pathology images to slide-level predictions.

The names below are loaded on first use, so that `import slidenet` stays instant and needs no torch.
"""

import importlib
from typing import Any

_HOMES = {
    "SlidenetError": "slidenet.core.errors",
    "load_slide_encoder": "slidenet.slide_encoders",
    "load_tile_encoder": "slidenet.tile_encoders",
    "open_slide": "slidenet.slides",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"slidenet.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"slidenet.{name}":
            raise
        raise AttributeError(f"module 'slidenet' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
