"""Attributes of our h5 files: written from core records, read back to them, checked in between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from slidenet.core.errors import StoreError
from slidenet.core.provenance import JsonValue, Recipe, canonical_json, recipe_hash
from slidenet.core.provenance import software_version as installed_version
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.core.units import Mpp, magnification
from slidenet.stores import schema

AttributeValue = str | int | float
T = TypeVar("T", str, int, float)


def plain_recipe(recipe: Recipe) -> dict[str, JsonValue]:
    """`recipe` as it comes back from a file: tuples as lists, keys sorted."""
    plain: dict[str, JsonValue] = json.loads(canonical_json(recipe))
    return plain


def write_attributes(target: Any, attributes: Mapping[str, AttributeValue]) -> None:
    """Writes `attributes` on an h5 group or dataset with the fixed types of the format."""
    for name, value in attributes.items():
        if isinstance(value, str):
            target.attrs[name] = value
        else:
            target.attrs[name] = np.int64(value) if isinstance(value, int) else np.float64(value)


def identity_attributes(
    kind: str, *, slide_id: str, fingerprint: str, recipe: Recipe
) -> dict[str, AttributeValue]:
    """The attributes every file of ours carries (`schema.COMMON_ATTRIBUTES`)."""
    return {
        "format": kind,
        "format_version": schema.FORMAT_VERSION,
        "software_version": installed_version(),
        "slide_id": slide_id,
        "slide_fingerprint": fingerprint,
        "recipe": canonical_json(recipe),
        "recipe_hash": recipe_hash(recipe),
    }


def geometry_attributes(geometry: TileGeometry) -> dict[str, AttributeValue]:
    """`geometry` as attributes (`schema.GEOMETRY_ATTRIBUTES`)."""
    attributes: dict[str, AttributeValue] = {
        "slide_mpp": float(geometry.slide_mpp.value),
        "slide_mpp_source": geometry.slide_mpp.source,
    }
    for name, kind in schema.GEOMETRY_ATTRIBUTES.items():
        if name not in attributes:
            attributes[name] = kind(getattr(geometry, name))
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
    found: dict[str, AttributeValue] = {
        name: read_attribute(group, name, kind, path)
        for name, kind in schema.GEOMETRY_ATTRIBUTES.items()
    }
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
    return kind(target.attrs[name])


def attribute_problem(target: Any, name: str, kind: type) -> str:
    """What is wrong with one attribute; empty where nothing is."""
    where = f"{target.name} attribute {name!r}"
    if name not in target.attrs:
        return f"{where} is missing"
    value = target.attrs[name]
    if kind is str:
        right = isinstance(value, str)
    elif kind is int:
        right = isinstance(value, int | np.integer)
    else:
        right = isinstance(value, float | np.floating) and bool(np.isfinite(value))
    return "" if right else f"{where} is {value!r}; expected a {_PLAIN_NAME[kind]}"


_PLAIN_NAME = {str: "text", int: "whole number", float: "finite number"}


def read_recipe(group: Any, path: Path, name: str = "recipe") -> dict[str, JsonValue]:
    """A JSON attribute (`recipe`, `encoder`, `tiles_recipe`) as a mapping.

    Raises:
        StoreError: It is missing or no JSON mapping.
    """
    text = read_attribute(group, name, str, path)
    problem = json_problem(text)
    if problem:
        raise StoreError(f"{path}: attribute {name!r} {problem}", remedy="make the file again")
    recipe: dict[str, JsonValue] = json.loads(text)
    return recipe


def json_problem(text: str) -> str:
    """What is wrong with the text of a JSON attribute; empty where nothing is."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"is no JSON ({error})"
    return "" if isinstance(value, dict) else "is no JSON mapping"
