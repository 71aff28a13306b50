"""Names to specs. A family is any module in `families/`: adding a model touches one file there."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from slidenet.core.errors import PluginError
from slidenet.core.registry import Registry
from slidenet.tile_encoders import families
from slidenet.tile_encoders.spec import TileEncoderSpec

DEFAULT_TILE_ENCODER = "efficientnet_lite0"
TIMM_PREFIX = "timm/"


def collect_specs() -> Registry[TileEncoderSpec | Callable[..., Any]]:
    """Specs of every module in `families/`, by name; plug-ins may also be classes or functions."""
    registry: Registry[TileEncoderSpec | Callable[..., Any]] = Registry(
        "tile encoder",
        group="slidenet.tile_encoders",
        accepts=lambda entry: isinstance(entry, TileEncoderSpec) or callable(entry),
        expected="a TileEncoderSpec, a module class, or a function that returns a TileEncoder",
    )
    for module_info in sorted(pkgutil.iter_modules(families.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{families.__name__}.{module_info.name}")
        for spec in module.SPECS:
            registry.add(spec.name, spec)
    return registry


TILE_ENCODERS = collect_specs()


def list_tile_encoders() -> list[str]:
    """Names of the tile encoders slidenet knows by itself, sorted."""
    return list(TILE_ENCODERS)


def get_spec(name: str) -> TileEncoderSpec:
    """The spec of a known encoder, or of any timm model as `timm/<architecture>[.<tag>]`.

    Raises:
        UnknownNameError: Nobody carries this name; the nearest ones are proposed.
        PluginError: The name stands for code of another package, which has no spec.
    """
    if name.startswith(TIMM_PREFIX):
        # Imported here: timm brings torch, which listing the specs must not.
        from slidenet.tile_encoders.timm_models import timm_spec

        return timm_spec(name.removeprefix(TIMM_PREFIX))
    entry = TILE_ENCODERS[name]
    if not isinstance(entry, TileEncoderSpec):
        raise PluginError(
            f"the tile encoder {name!r} is code of another package, without a spec",
            remedy="load it with load_tile_encoder, whose result has one",
        )
    return entry
