"""Attributes of our h5 files: written from core records, read back to them, checked in between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from slidenet.core.errors import StoreError
from slidenet.core.provenance import Identity, JsonValue, canonical_json, identity_hash
from slidenet.core.provenance import software_version as installed_version
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.core.units import Mpp, magnification
from slidenet.stores.h5 import schema

AttributeValue = str | int | float
T = TypeVar("T", str, int, float)


def write_attributes(
    target: Any, attributes: Mapping[str, AttributeValue], *, loaders_text: bool = False
) -> None:
    """Writes `attributes` on an h5 group or dataset with the fixed types of the format.

    Our own text has a fixed length and so lies inside checksummed headers. What h5py does by
    itself puts text on a heap without checksum, where a block of zeros (a copy cut short) makes
    HDF5 loop for ever. `loaders_text` asks for that all the same: public loaders expect `str`.
    """
    for name, value in attributes.items():
        if isinstance(value, str) and loaders_text:
            target.attrs[name] = value
        elif isinstance(value, str):
            data = value.encode()
            target.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
        else:
            target.attrs[name] = attribute_number(value)


def attribute_number(value: int | float) -> np.int64 | np.float64:
    """A number as an attribute of ours holds it."""
    return np.int64(value) if isinstance(value, int) else np.float64(value)


def attribute_value(target: Any, name: str) -> AttributeValue:
    """One attribute as plain Python."""
    value = target.attrs[name]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    plain: AttributeValue = value.item() if isinstance(value, np.generic) else value
    return plain


def identity_attributes(
    kind: str, *, version: int, slide_id: str, fingerprint: str, identity: Identity
) -> dict[str, AttributeValue]:
    """The attributes every file of ours carries (`schema.COMMON_ATTRIBUTES`)."""
    return {
        "format": kind,
        "format_version": version,
        "software_version": installed_version(),
        "slide_id": slide_id,
        "slide_fingerprint": fingerprint,
        "recipe": canonical_json(identity),
        "recipe_hash": identity_hash(identity),
    }


def geometry_attributes(geometry: TileGeometry) -> dict[str, AttributeValue]:
    """`geometry` as attributes, by the format version it is written in."""
    first = schema.version_of(geometry) == 1
    kinds = schema.GEOMETRY_ATTRIBUTES if first else schema.GEOMETRY_ATTRIBUTES_2
    attributes: dict[str, AttributeValue] = {
        "slide_mpp": float(geometry.slide_mpp.value),
        "slide_mpp_source": geometry.slide_mpp.source,
    }
    for name, kind in kinds.items():
        if name not in attributes:
            attributes[name] = kind(getattr(geometry, name))
    for name, kind in schema.CUT_ATTRIBUTES.items():
        value = getattr(geometry, name)
        if value is not None:
            attributes[name] = kind(value)
    return attributes


def coords_attributes(geometry: TileGeometry, *, slide_id: str) -> dict[str, AttributeValue]:
    """The attributes TRIDENT's loaders expect on `/coords` (`schema.COORDS_ATTRIBUTES`)."""
    return {
        "patch_size": int(geometry.tile_size_px),
        "patch_size_level0": int(geometry.tile_size_level0),
        "level0_magnification": magnification(geometry.slide_mpp.value),
        "target_magnification": magnification(geometry.target_mpp),
        "overlap": int(geometry.tile_size_px - geometry.stride_px),
        "name": slide_id,
        "savetodir": ".",
        "level0_width": int(geometry.level0_width),
        "level0_height": int(geometry.level0_height),
    }


def read_geometry(group: Any, path: Path) -> TileGeometry:
    """The geometry written by `geometry_attributes`, exact."""
    first = read_attribute(group, "format_version", int, path) == 1
    kinds = schema.GEOMETRY_ATTRIBUTES if first else schema.GEOMETRY_ATTRIBUTES_2
    found: dict[str, AttributeValue] = {
        name: read_attribute(group, name, kind, path) for name, kind in kinds.items()
    }
    for name, kind in schema.CUT_ATTRIBUTES.items():
        if name in group.attrs:
            found[name] = read_attribute(group, name, kind, path)
    value, source = found.pop("slide_mpp"), found.pop("slide_mpp_source")
    slide_mpp = SlideMpp(Mpp(float(value)), str(source))
    return TileGeometry(slide_mpp=slide_mpp, **found)  # type: ignore[arg-type]  # typed by schema


def read_attribute(target: Any, name: str, kind: type[T], path: Path) -> T:
    """One attribute, of the type the format gives it.

    Raises:
        StoreError: It is missing or of another type.
    """
    problem = attribute_problem(target, name, kind)
    if problem:
        raise StoreError(f"{path}: {problem}", remedy="delete the file and make it again")
    return kind(attribute_value(target, name))


def attribute_problem(target: Any, name: str, kind: type) -> str:
    """What is wrong with one attribute; empty where nothing is."""
    where = f"{target.name} attribute {name!r}"
    if name not in target.attrs:
        return f"{where} is missing"
    if kind is str:
        # By type alone: reading a loader's text from a broken file may never end.
        is_text = h5py.check_string_dtype(target.attrs.get_id(name).dtype) is not None
        return "" if is_text else f"{where} is no text"
    value = target.attrs[name]
    if kind is int and not isinstance(value, int | np.integer):
        return f"{where} is {attribute_value(target, name)!r}; expected a whole number"
    if kind is float and not (isinstance(value, float | np.floating) and np.isfinite(value)):
        return f"{where} is {attribute_value(target, name)!r}; expected a finite number"
    return ""


def read_identity(group: Any, path: Path, name: str = "recipe") -> dict[str, JsonValue]:
    """A JSON attribute (`recipe`, `encoder`, `tiles_recipe`) as a mapping.

    Raises:
        StoreError: It is missing or no JSON mapping.
    """
    text = read_attribute(group, name, str, path)
    problem = json_problem(text)
    if problem:
        raise StoreError(f"{path}: attribute {name!r} {problem}", remedy="make the file again")
    identity: dict[str, JsonValue] = json.loads(text)
    return identity


def json_problem(text: str) -> str:
    """What is wrong with the text of a JSON attribute; empty where nothing is."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"is no JSON ({error})"
    return "" if isinstance(value, dict) else "is no JSON mapping"
