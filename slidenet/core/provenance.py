"""Identities and their hashes: how an artefact says what made it.

An identity is a JSON-able mapping of every setting that can change the numbers in a file. Two files
with the same identity hash and the same input fingerprint hold the same thing; resume relies on it.
Anything that cannot change the numbers (worker counts, output folder, progress) stays out.

What belongs to one slide only (its mpp, a hand-drawn outline) sits under the key `inputs`. It is
part of the hash, so a changed input is seen, but not of `cohort_identity`, which is what the files
of one cohort must have in common.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata

JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Identity = Mapping[str, JsonValue]

IDENTITY_HASH_LENGTH = 16
INPUTS_KEY = "inputs"
MOST_SHOWN = 200
"""Characters of a value in a message."""


def canonical_json(identity: Identity) -> str:
    """One text per identity: sorted keys, no spaces, no NaN."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def identity_hash(identity: Identity) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:IDENTITY_HASH_LENGTH]


def cohort_identity(identity: Identity) -> Identity:
    """The identity without what belongs to one slide: every `inputs` entry, at any depth."""
    return {
        key: cohort_identity(value) if isinstance(value, Mapping) else value
        for key, value in identity.items()
        if key != INPUTS_KEY
    }


def describe_difference(found: Identity, wanted: Identity) -> str:
    """The settings that differ, for an error a user can act on.

    Returns:
        `key: found -> wanted, ...` down to the innermost key (`tiles.target_mpp`); empty where
        none differs. Tuples and lists are the same, as they are in a file.
    """
    # By way of a file's text, from which tuples come back as lists.
    before, after = (_flat(json.loads(canonical_json(identity))) for identity in (found, wanted))
    keys = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return ", ".join(f"{k}: {_cut(before.get(k))} -> {_cut(after.get(k))}" for k in keys)


def _cut(value: JsonValue) -> str:
    """A value for a message; the slides of every fold would fill a screen."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _flat(identity: Identity, prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, value in identity.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@cache
def software_version(package: str = "slidenet") -> str:
    """The installed version of `package`, or "not installed"; read once in a process.

    Every file of ours says it, and reading it anew took a third of the time of a small one.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
