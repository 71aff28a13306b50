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

AttributeValue = str | int | float
MOST_TEXT_BYTES = 16 * 2**20
_MOST_NESTED = 60

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


def read_attribute(target: Any, name: str, kind: type[T], path: Path) -> T:
    """One attribute, of the type the format gives it.

    Raises:
        StoreError: It is missing or of another type.
    """
    value, problem = _checked(target, name, kind)
    if problem:
        raise StoreError(f"{path}: {problem}", remedy="delete the file and make it again")
    if isinstance(value, bytes):
        return kind(value.decode(errors="replace"))
    return kind(attribute_value(target, name) if value is None else value)


def attribute_problem(target: Any, name: str, kind: type) -> str:
    """What is wrong with one attribute; empty where nothing is."""
    return _checked(target, name, kind)[1]


def _checked(target: Any, name: str, kind: type) -> tuple[int | float | bytes | None, str]:
    """The value of a number or of text of fixed length, and what is wrong.

    The value is None where something is, and for other text. Each attribute is opened once, which
    is most of the time that a look at thousands of files takes.
    """
    where = f"attribute {name!r}"
    try:
        # h5py's own way to it, `attrs`, takes twice as long.
        stored = h5py.h5a.open(target.id, name.encode())
        dtype = stored.dtype
    except KeyError:
        if name in target.attrs:
            raise  # there, and spoilt
        return None, f"{target.name} {where} is missing"
    except (TypeError, ValueError) as error:
        return None, f"{target.name} {where} is of a kind unknown to numpy ({error})"
    if stored.shape != () or dtype.itemsize > MOST_TEXT_BYTES:
        long = "is an array or longer than any text of ours; expected one value"
        return None, f"{target.name} {where} {long}"
    if kind is str:
        # By type alone: reading a loader's text from a broken file may never end.
        text = h5py.check_string_dtype(dtype)
        if text is None:
            return None, f"{target.name} {where} is no text"
        return None if text.length is None else _stored_value(stored, dtype), ""
    value = _stored_value(stored, dtype)
    if kind is int and not isinstance(value, int | np.integer):
        found = attribute_value(target, name)
        return None, f"{target.name} {where} is {found!r}; expected a whole number"
    if kind is float and not (isinstance(value, float | np.floating) and np.isfinite(value)):
        found = attribute_value(target, name)
        return None, f"{target.name} {where} is {found!r}; expected a finite number"
    return value, ""


def _stored_value(stored: Any, dtype: np.dtype[Any]) -> Any:
    value = np.empty((), dtype)
    stored.read(value)
    return value[()]


def read_identity(group: Any, path: Path, name: str = "recipe") -> dict[str, JsonValue]:
    """A JSON attribute (`recipe`, `encoder`, `tiles_recipe`) as a mapping.

    Raises:
        StoreError: It is missing or no JSON mapping.
    """
    identity, problem = _mapping_of(read_attribute(group, name, str, path))
    if problem:
        raise StoreError(f"{path}: attribute {name!r} {problem}", remedy="make the file again")
    return identity


def json_problem(text: str) -> str:
    """What is wrong with the text of a JSON attribute; empty where nothing is."""
    return _mapping_of(text)[1]


def _mapping_of(text: str) -> tuple[dict[str, JsonValue], str]:
    """A JSON mapping, and what is wrong with it."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        return {}, f"is no JSON ({str(error) or type(error).__name__})"
    if not isinstance(value, dict):
        return {}, "is no JSON mapping"
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > _MOST_NESTED:
            return {}, f"is nested deeper than {_MOST_NESTED} levels"
        inside = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [x for values in inside for x in values if isinstance(x, dict | list)]
    return value, ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
