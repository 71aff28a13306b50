"""From the identity of features back to the settings that make such features again.

A classifier is only as good as the features it is given: `slidenet predict` makes those of a new
slide with the very settings of its training features, and proves it before any slide is read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from slidenet.core.errors import IdentityMismatchError
from slidenet.core.provenance import Identity, describe_difference
from slidenet.core.records import BLENDED_READING
from slidenet.core.registry import Registry
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.pipelines.tissue.segmenter import SEGMENTER_FLAGS
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides import READERS
from slidenet.tile_encoders.catalogue import TILE_ENCODERS
from slidenet.tissue import SEGMENTERS, segmenter_identity
from slidenet.tissue.as_cut import AS_CUT
from slidenet.tissue.regions import DRAWN
from slidenet.tissue.segmenters.model import ModelSegmenter
from slidenet.tissue.segmenters.registry import setting_names

_FILTER_FLAGS = {"blank": "drop_blank", "blur": "drop_blurred", "pen": "drop_penned"}

_TILE_KEYS = {"target_mpp", "tile_size_px", "stride_px", "min_tissue_fraction", "icc", "filters",
              "tissue"}  # fmt: skip


def settings_from_identity(
    identity: Identity, *, source: str, allow_code: bool = False
) -> tuple[PreprocessSettings, EmbedTilesSettings]:
    """The settings of `preprocess` and `embed-tiles` that give features of this identity.

    Args:
        identity: Of a features file of slidenet, without what belongs to one slide.
        source: The file that holds it, for messages.
        allow_code: Whether it may name code outside slidenet.

    Raises:
        PluginError: The features were made with code outside slidenet, and `allow_code` is False.
        IdentityMismatchError: The features were not made by slidenet, tissue or regions come from
            drawn annotations, or this version of slidenet would cut other tiles.
    """
    tiles, encoder = identity.get("tiles"), identity.get("tile_encoder")
    if (
        not isinstance(tiles, Mapping)
        or not isinstance(encoder, Mapping)
        or not _complete(identity)
    ):
        raise IdentityMismatchError(
            "the features this model was trained on were not made by slidenet",
            expected="features that say how to make them from a slide",
            remedy="make features of the new slides with the tool used for training, and give "
            "their folder as --features",
        )
    tissue = tiles["tissue"]
    if not isinstance(tissue, Mapping) or tissue.get("segmenter") in (None, DRAWN):
        raise IdentityMismatchError(
            "the tissue of the training slides comes from drawn annotations",
            expected="a segmenter that can be run on new slides",
            remedy="preprocess the new slides with --tissue-geojson and embed their tiles, then "
            "give the folder as --features",
        )
    if tissue["segmenter"] == ModelSegmenter.name:
        raise IdentityMismatchError(
            "the tissue of the training slides was found by a network whose weights lie elsewhere",
            expected="one of the segmenters that need no file",
            remedy="preprocess the new slides with the same --segmenter-weights and embed their "
            "tiles, then give the folder as --features",
        )
    if "regions" in tiles:
        raise IdentityMismatchError(
            "the tiles of the training slides lie in regions that a person drew",
            expected="features of tiles anywhere on the tissue, or regions on the new slides too",
            remedy="preprocess the new slides with --regions and the settings of the training, "
            "embed their tiles, then give the folder as --features",
        )
    read_by: Any = tiles.get("reader")
    reader = None if read_by is None else _name(read_by, "name", READERS)
    # Of tile images, which are taken as they were cut, none was asked.
    as_cut = tissue["segmenter"] == AS_CUT
    segmenter = None if as_cut else _name(tissue, "segmenter", SEGMENTERS)
    encoder_name = _name(encoder, "encoder", TILE_ENCODERS)
    TILE_ENCODERS.require_own(encoder_name, source=source, allow_code=allow_code)
    if segmenter is not None:
        SEGMENTERS.require_own(segmenter, source=source, allow_code=allow_code)
    if reader is not None:
        READERS.require_own(reader, source=source, allow_code=allow_code)
    tiler = Tiler.of(_preprocess_settings(tiles, segmenter, reader))
    asked: Identity = {
        "tissue": tissue if as_cut else segmenter_identity(tiler.segmenter),
        "filters": [tile_filter.identity() for tile_filter in tiler.filters],
    }
    difference = describe_difference({name: tiles[name] for name in asked}, asked)
    if difference:
        raise IdentityMismatchError(
            f"this version of slidenet would cut other tiles than the training's ({difference})",
            remedy="use the version of slidenet the model was trained with, or give features made "
            "with it as --features",
        )
    features = EmbedTilesSettings(
        encoder=encoder_name,
        reader=reader,
        # Of Literal types, which are checked when the settings are used.
        precision=cast(Any, encoder["precision"]),
        engine=cast(Any, encoder.get("engine", "torch")),
        feature_dtype=cast(Any, identity["feature_dtype"]),
    )
    return tiler.settings, features


def _complete(identity: Mapping[str, Any]) -> bool:
    """Whether the identity says all that is read from it; those of generated features do not."""
    return (
        identity["tiles"].keys() >= _TILE_KEYS
        and identity["tile_encoder"].keys() >= {"encoder", "precision"}
        and "feature_dtype" in identity
    )


def _preprocess_settings(
    tiles: Mapping[str, Any], segmenter: str | None, reader: str | None
) -> PreprocessSettings:
    known = () if segmenter is None else setting_names(segmenter)
    tissue = {name: value for name, value in tiles["tissue"].items() if name in known}
    of_others = {name: value for name, value in tissue.items() if name not in SEGMENTER_FLAGS}
    settings = PreprocessSettings(
        target_mpp=tiles["target_mpp"],
        tile_size_px=tiles["tile_size_px"],
        stride_px=tiles["stride_px"],
        segmenter=segmenter,
        segmenter_settings=of_others or None,
        reader=reader,
        min_tissue_fraction=tiles["min_tissue_fraction"],
        icc=tiles["icc"],
        # Files of version 1 say neither.
        reading=tiles.get("reading", BLENDED_READING),
        shrinking=tiles.get("shrinking", "area"),
        drop_blank=False,
        **{name: value for name, value in tissue.items() if name in SEGMENTER_FLAGS},
    )
    used: dict[str, Any] = {
        _FILTER_FLAGS[tile_filter["filter"]]: True for tile_filter in tiles["filters"]
    }
    return replace(settings, **used)


def _name(identity: Mapping[str, Any], key: str, registry: Registry[Any]) -> str:
    """What to ask for: the recorded name, which enters the new identity too.

    Code of another package that goes by another name here is asked for by its import path.
    """
    name = str(identity[key])
    if "plugin" not in identity:
        return name
    plugin, code = registry.plugin(name), str(identity["plugin"]["code"])
    return name if plugin is not None and plugin.target == code else code
