"""Recipes and their hashes: how an artefact says what made it.

A recipe is a JSON-able mapping of every setting that can change the numbers in a file. Two files
with the same recipe hash and the same input fingerprint hold the same thing; resume relies on it.
Anything that cannot change the numbers (worker counts, output folder, progress) stays out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata

JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Recipe = Mapping[str, JsonValue]

RECIPE_HASH_LENGTH = 16


def canonical_json(recipe: Recipe) -> str:
    """One text per recipe: sorted keys, no spaces, no NaN."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)


def recipe_hash(recipe: Recipe) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(recipe).encode()).hexdigest()[:RECIPE_HASH_LENGTH]


def recipe_difference(found: Recipe, wanted: Recipe) -> str:
    """The settings that differ, as `key: found -> wanted`, for an error a user can act on."""
    keys = sorted(set(found) | set(wanted))
    differing = [k for k in keys if found.get(k) != wanted.get(k)]
    return ", ".join(f"{k}: {found.get(k)!r} -> {wanted.get(k)!r}" for k in differing)


def software_version(package: str = "slidenet") -> str:
    """The installed version of `package`, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
