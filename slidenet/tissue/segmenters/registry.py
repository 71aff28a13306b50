"""Segmenters by name: slidenet's own, and those of other packages."""

from dataclasses import fields, is_dataclass
from typing import Any

from slidenet.core.errors import ConfigError, PluginError
from slidenet.core.plugins import code_identity
from slidenet.core.provenance import Identity, canonical_json
from slidenet.core.registry import Registry
from slidenet.tissue.segmenters.base import Segmenter
from slidenet.tissue.segmenters.model import ModelSegmenter
from slidenet.tissue.segmenters.optical_density import OpticalDensitySegmenter
from slidenet.tissue.segmenters.otsu import OtsuSegmenter
from slidenet.tissue.segmenters.saturation import SaturationSegmenter
from slidenet.tissue.segmenters.whole import AllSegmenter

DEFAULT_SEGMENTER = "optical_density"
"""What finds tissue where nothing else is asked for."""

SEGMENTERS: Registry[type[Segmenter]] = Registry(
    "segmenter",
    group="slidenet.segmenters",
    accepts=lambda entry: (
        isinstance(entry, type)
        and is_dataclass(entry)
        and all(callable(getattr(entry, name, None)) for name in ("find", "identity"))
    ),
    expected="a frozen dataclass with name, find(slide) and identity()",
)
for _segmenter in (
    OpticalDensitySegmenter,
    OtsuSegmenter,
    SaturationSegmenter,
    AllSegmenter,
    ModelSegmenter,
):
    SEGMENTERS.add(_segmenter.name, _segmenter)


def setting_names(name: str) -> list[str]:
    """The settings of the segmenter `name`.

    Raises:
        UnknownNameError: No segmenter of that name.
    """
    kind: Any = SEGMENTERS[name]  # a dataclass, which a protocol cannot say
    return [field.name for field in fields(kind) if field.init]


def make_segmenter(name: str, **settings: Any) -> Segmenter:
    """The segmenter `name` with `settings`; its identity is known before a slide is read.

    Raises:
        UnknownNameError: No segmenter of that name.
        ConfigError: A setting it does not have, or out of range.
        PluginError: That of another package has no name, or an identity that cannot be written.
    """
    known = setting_names(name)
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"the segmenter {name!r} has no setting {setting!r}",
                expected=f"some of {', '.join(known)}" if known else "no settings",
            )
    kind: Any = SEGMENTERS[name]
    try:
        segmenter: Segmenter = kind(**settings)
    except (TypeError, ValueError) as error:  # as classes of other packages refuse their settings
        raise ConfigError(
            f"the segmenter {name!r} does not take these settings ({error})",
            expected=f"values that suit {', '.join(known)}",
        ) from error
    if not isinstance(getattr(segmenter, "name", None), str):
        raise PluginError(
            f"the segmenter {name!r} has no name",
            expected="a text in its attribute `name`, for messages and files",
            remedy='add `name: ClassVar[str] = "..."` to its class',
        )
    segmenter_identity(segmenter)
    return segmenter


def segmenter_identity(segmenter: Segmenter) -> Identity:
    """Name and settings of a segmenter and, of another package's, distribution and version.

    Raises:
        PluginError: They are nothing that can be written into a file.
    """
    said = segmenter.identity()
    try:
        identity = {**said, **code_identity(type(segmenter))}
        canonical_json(identity)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"the identity of the segmenter {segmenter.name!r} is no JSON ({error})",
            expected="a mapping of names to numbers, texts, lists or mappings",
            remedy="give files by their digest, and arrays as lists",
        ) from error
    return identity
