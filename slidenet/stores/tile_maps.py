"""Tile maps on disk: one number per tile of a slide, by each method and for each target.

The numbers are raw, as a method gives them. What a picture or a table of other programs normalises
is computed from `TileMap.value_range` and said there, so that nothing here depends on the eyes it
was made for.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.errors import CoordinateError, ExplanationError, StoreError
from slidenet.core.provenance import Identity, JsonValue, canonical_json
from slidenet.core.records import TileGeometry, check_coords
from slidenet.core.text import name_some
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import (
    identity_attributes,
    read_attribute,
    read_identity,
    write_attributes,
)
from slidenet.stores.h5.digests import digest_of_array, refuse_changed, write_digests
from slidenet.stores.h5.file import create_h5, open_h5
from slidenet.stores.h5.geometry import geometry_attributes, read_geometry
from slidenet.stores.h5.validate import check_format

Unit = Literal["logit", "share", "distance"]
UNITS: tuple[Unit, ...] = get_args(Unit)

METHODS: Mapping[str, str] = {
    "evidence": "what each tile adds to the logit",
    "single_tile": "what the model says of a bag of this tile alone",
    "attention": "attention",
    "rollout": "attention through all layers",
    "gradient_x_input": "size of gradient times (features - mean of the bag)",
    "integrated_gradients": "integrated gradients from the mean of the bag",
    "occlusion": "what the logit loses without the tile",
    "occlusion_regions": "what the logit loses without the tile and those around",
    "occlusion_clusters": "what the logit loses without all tiles that look alike",
    "swap": "what the logit loses when the tile changes its place",
    "control": "distance from the mean of the bag, without any model",
    "untrained": "the same by the network before any training",
    "spread": "how far the members of the ensemble lie apart",
}
"""Words of each method, for titles and legends; those of a plug-in have only their name."""


@dataclass(frozen=True, eq=False)
class TileMap:
    """One number per tile of a slide, by one method, for one target.

    Attributes:
        values: float32 (N,), raw; NaN where a tile is in no bag (unreadable, or in no region);
            read-only.
        method: How they were made: one of `METHODS`, a plug-in's, or one of those with a colon and
            what it was applied to ("untrained:evidence").
        target: What is explained: name of an `ExplainedTarget`.
        signed: Whether positive values speak for the target and negative ones against it.
        unit: "logit", "share" (of attention; shares of a bag add up to 1) or "distance".
        is_evidence: Whether the values say what speaks for the target. False for attention alone,
            controls and unsigned gradients: they say where the model looked, and every picture and
            table must say so.
        details: What is to know of how they were made (steps, completeness gap, baseline, number of
            groups, spread of an ensemble, ...).

    Raises:
        ExplanationError: Wrong shape, infinite values, an unknown unit, or no name.
    """

    values: npt.NDArray[np.float32]
    method: str
    target: str
    signed: bool
    unit: Unit
    is_evidence: bool
    details: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found, expected = "", "float32 (N,)"
        infinite = np.flatnonzero(np.isinf(self.values))
        if self.values.dtype != np.float32 or self.values.ndim != 1:
            found = f"is {self.values.dtype} of shape {self.values.shape}"
        elif len(infinite):
            found = f"is infinite at tile {name_some(infinite, most=3)}"
            expected = "finite numbers, and NaN for tiles in no bag"
        elif self.unit not in UNITS:
            found, expected = f"has the unit {self.unit!r}", " or ".join(UNITS)
        elif not self.method or not self.target:
            found, expected = "has no name", "names of its method and its target"
        if found:
            name = f"the map {self.method!r} of {self.target!r}"
            raise ExplanationError(f"{name} {found}", expected=expected)
        frozen = self.values.copy()
        frozen.flags.writeable = False
        object.__setattr__(self, "values", frozen)

    @property
    def title(self) -> str:
        """Words of the method, and whether it is no evidence; not escaped."""
        first, _, second = self.method.partition(":")
        words = f"{first}: {METHODS[first]}" if first in METHODS else first
        words += f" ({second})" if second else ""
        return words if self.is_evidence else f"{words}; not evidence"

    def value_range(self) -> tuple[float, float]:
        """The smallest and the largest raw value; (NaN, NaN) where no tile has one."""
        there = self.values[~np.isnan(self.values)]
        return (float(there.min()), float(there.max())) if len(there) else (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class TileMaps:
    """All maps of one slide.

    Attributes:
        slide_id: Id of the slide.
        slide_path: Where the slide lies, as the manifest says; its name alone, or nothing, where
            only features are known. The slide may have moved since.
        fingerprint: Content fingerprint of the slide file; where features of another tool were
            explained, which know none, a digest of those features.
        geometry: How the tiles lie.
        coords: int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels; read-only.
        maps: One per method and target.
        identity: Every setting that made them, and the digests of the model.
        prediction: What the model says of each bag of the slide, by bag_id: a mapping with `words`
            (one line), `called` (names of the targets that are called), `scores` (probabilities,
            values, risks by name), `logits` (of each target by name) and, where methods could say
            nothing of the bag, `left_out` (why, by method). Of a slide with drawn regions
            `without_region` has what each target's logit loses without each region.
        features_digest: Of the features they were made from; "" where that is not known.

    Raises:
        ExplanationError: A map of another length, or two of the same method and target.
    """

    slide_id: str
    slide_path: str
    fingerprint: str
    geometry: TileGeometry
    coords: IntArray
    maps: tuple[TileMap, ...]
    identity: Identity
    prediction: Mapping[str, JsonValue] = field(default_factory=dict)
    features_digest: str = ""

    def __post_init__(self) -> None:
        check_coords(self.coords, slide=self.slide_id)
        names = [(one.method, one.target) for one in self.maps]
        for name, one in zip(names, self.maps, strict=True):
            if len(one.values) != self.num_tiles:
                raise ExplanationError(
                    f"the map {name[0]!r} of {name[1]!r} has {len(one.values)} values",
                    expected=f"{self.num_tiles}, one per tile",
                    slide=self.slide_id,
                )
            if names.count(name) > 1:
                raise ExplanationError(
                    f"two maps by {name[0]!r} of {name[1]!r}", expected="one", slide=self.slide_id
                )
        frozen = self.coords.copy()
        frozen.flags.writeable = False
        object.__setattr__(self, "coords", frozen)

    @property
    def num_tiles(self) -> int:
        """Number of tiles, N, those in no bag included."""
        return len(self.coords)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in order, each once."""
        return tuple(dict.fromkeys(one.method for one in self.maps))

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in order, each once."""
        return tuple(dict.fromkeys(one.target for one in self.maps))

    @property
    def called_first(self) -> tuple[int, ...]:
        """Places of the maps: those of what the model calls the slide before all others.

        The first is what pictures and other programs show where they show one map.
        """
        said = [bag.get("called") for bag in self.prediction.values() if isinstance(bag, Mapping)]
        called = {name for names in said if isinstance(names, list | tuple) for name in names}
        order = sorted(range(len(self.maps)), key=lambda i: self.maps[i].target not in called)
        return tuple(order)

    def of(self, method: str, target: str) -> TileMap:
        """The map of one method and target.

        Raises:
            ExplanationError: There is none.
        """
        for one in self.maps:
            if (one.method, one.target) == (method, target):
                return one
        raise ExplanationError(
            f"there is no map by {method!r} of {target!r}",
            expected=f"one of {', '.join(self.methods)} of {', '.join(self.targets)}",
            slide=self.slide_id,
        )


def write_tile_maps(path: str | os.PathLike[str], maps: TileMaps) -> Path:
    """Writes the maps of one slide (format `slidenet.tile_maps`), atomically.

    Args:
        path: The file; one that is there is replaced.
        maps: At least one.

    Returns:
        The path written.

    Raises:
        ExplanationError: There is no map.
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    if not maps.maps:
        raise ExplanationError("there is no map to write", slide=maps.slide_id)
    values = np.stack([one.values for one in maps.maps], axis=1)
    datasets: dict[str, npt.NDArray[Any]] = {schema.COORDS: maps.coords, schema.TILE_MAPS: values}
    version = schema.FORMAT_VERSION
    attributes = identity_attributes(
        schema.TILE_MAPS_FORMAT,
        version=version,
        slide_id=maps.slide_id,
        fingerprint=maps.fingerprint,
        identity=maps.identity,
    )
    attributes |= geometry_attributes(maps.geometry, version=version)
    attributes |= {
        "num_tiles": maps.num_tiles,
        "num_maps": len(maps.maps),
        "slide_path": maps.slide_path,
        "maps": canonical_json({str(i): _described(one) for i, one in enumerate(maps.maps)}),
        "prediction": canonical_json(maps.prediction),
    }
    if maps.features_digest:
        attributes[schema.FEATURES_DIGEST] = maps.features_digest
    with create_h5(path, slide=maps.slide_id) as new:
        for name, data in datasets.items():
            stored = schema.short_rows(version, data.shape)
            new.h5.create_dataset(name, data=data, **stored)
        write_attributes(new.h5.create_group(schema.GROUP), attributes)
        write_digests(new.h5, {name: digest_of_array(data) for name, data in datasets.items()})
    return path


def read_tile_maps(path: str | os.PathLike[str]) -> TileMaps:
    """Reads what `write_tile_maps` wrote.

    Raises:
        StoreError: The file is missing, broken or not a `slidenet.tile_maps` file.
    """
    path = Path(path)
    with open_h5(path) as h5:
        check_format(h5, path, expected=schema.TILE_MAPS_FORMAT)
        group, values = h5[schema.GROUP], h5[schema.TILE_MAPS][:]
        known = schema.FEATURES_DIGEST in group.attrs
        described = read_identity(group, path, "maps")
        try:
            maps = TileMaps(
                slide_id=read_attribute(group, "slide_id", str, path),
                slide_path=read_attribute(group, "slide_path", str, path),
                fingerprint=read_attribute(group, "slide_fingerprint", str, path),
                geometry=read_geometry(group, path),
                coords=h5[schema.COORDS][:],
                maps=tuple(
                    _read_map(values[:, i], described.get(str(i))) for i in range(values.shape[1])
                ),
                identity=read_identity(group, path),
                prediction=read_identity(group, path, "prediction"),
                features_digest=read_attribute(group, schema.FEATURES_DIGEST, str, path)
                if known
                else "",
            )
        except (CoordinateError, ExplanationError) as error:
            raise StoreError(f"{path}: {error.found}", remedy="make the file again") from error
        refuse_changed(h5, path)
        return maps


def _described(one: TileMap) -> dict[str, JsonValue]:
    low, high = one.value_range()
    return {
        "method": one.method,
        "target": one.target,
        "signed": one.signed,
        "unit": one.unit,
        "is_evidence": one.is_evidence,
        "details": dict(one.details),
        "range": None if math.isnan(low) else [low, high],
    }


def _read_map(values: npt.NDArray[np.float32], described: Any) -> TileMap:
    """One column with what the file says of it."""
    kinds = {"method": str, "target": str, "signed": bool, "unit": str, "is_evidence": bool}
    if (
        not isinstance(described, dict)
        or not isinstance(described.get("details"), dict)
        or not all(isinstance(described.get(name), kind) for name, kind in kinds.items())
    ):
        text = json.dumps(described)[:80]
        raise ExplanationError(f"attribute 'maps' says of a map: {text}")
    facts: dict[str, Any] = {name: described[name] for name in (*kinds, "details")}
    return TileMap(values, **facts)
