"""Segmenters by name: slidenet's own, and those of other packages."""

from dataclasses import fields, is_dataclass
from typing import Any

from slidenet.core.errors import ConfigError
from slidenet.core.plugins import code_identity
from slidenet.core.provenance import Identity
from slidenet.core.registry import Registry
from slidenet.tissue.segmenters.base import Segmenter
from slidenet.tissue.segmenters.otsu import OtsuSegmenter
from slidenet.tissue.segmenters.saturation import SaturationSegmenter
from slidenet.tissue.segmenters.whole import AllSegmenter

DEFAULT_SEGMENTER = "otsu"
"""What finds tissue where nothing else is asked for."""

SEGMENTERS: Registry[type[Segmenter]] = Registry(
    "segmenter",
    group="slidenet.segmenters",
    accepts=lambda entry: is_dataclass(entry) and hasattr(entry, "find"),
    expected="a frozen dataclass with name, find(slide) and identity()",
)
for _segmenter in (OtsuSegmenter, SaturationSegmenter, AllSegmenter):
    SEGMENTERS.add(_segmenter.name, _segmenter)


def make_segmenter(name: str, **settings: Any) -> Segmenter:
    """The segmenter `name` with `settings`; its identity is known before a slide is read.

    Raises:
        UnknownNameError: No segmenter of that name.
        ConfigError: A setting it does not have, or out of range.
    """
    kind: Any = SEGMENTERS[name]  # a dataclass, which a protocol cannot say
    known = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"the segmenter {name!r} has no setting {setting!r}",
                expected=f"some of {', '.join(known)}" if known else "no settings",
            )
    segmenter: Segmenter = kind(**settings)
    return segmenter


def segmenter_identity(segmenter: Segmenter) -> Identity:
    """Name and settings of a segmenter and, of another package's, distribution and version."""
    return {**segmenter.identity(), **code_identity(type(segmenter))}
