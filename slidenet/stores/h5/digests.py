"""BLAKE2 digests of what a file of ours holds: of each dataset, and of the attributes beside it.

HDF5's own checksum (fletcher32) lies beside the chunk it is about: a block of zeros over both is
passed as sound. A digest lies elsewhere in the file, and names what it is about for good: a file
made from another one keeps the digest of what it was made from.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from slidenet.core.errors import StoreError
from slidenet.core.provenance import canonical_json
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import attribute_value
from slidenet.stores.h5.plain import holds

Digests = Mapping[str, str]
"""Digest by name: of each dataset by its path, of the attributes of `/slidenet` as "slidenet"."""

_BLOCK_BYTES = 4 * 2**20
_new = partial(blake2b, digest_size=16)


class RunningDigest:
    """The digest of a dataset whose rows come one block after the other.

    Args:
        dtype: Of its numbers.
        shape: Of the whole dataset.
    """

    def __init__(self, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._hash = _new(f"{self._dtype.str} {list(shape)}\n".encode())

    def add(self, rows: npt.NDArray[Any]) -> None:
        """The next rows, in order."""
        self._hash.update(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data)

    def end(self, attributes: Mapping[str, object]) -> str:
        """The digest, 32 hex digits.

        Args:
            attributes: Those of the dataset that `plain_attributes` knows.
        """
        self._hash.update(_attribute_bytes(attributes))
        return self._hash.hexdigest()


def digest_of_array(array: npt.NDArray[Any], attributes: Mapping[str, object] = {}) -> str:
    """What `digest_of` will give for a dataset of this content and these attributes.

    Args:
        array: Of any shape.
        attributes: As `write_attributes` takes them, without text for loaders.
    """
    running = RunningDigest(array.dtype, array.shape)
    running.add(array)
    return running.end(attributes)


def digest_of(target: Any) -> str:
    """The digest of an h5 dataset, or of the attributes of an h5 group; 32 hex digits.

    Of a dataset: type, shape, numbers and attributes. Reads in blocks. Text of variable length has
    no part in it: it is there for other programs, and reading it from a broken file may never end.

    Args:
        target: The open dataset or group.
    """
    attributes = plain_attributes(target)
    if isinstance(target, h5py.Group):
        attributes.pop(schema.DIGESTS, None)
        return _new(_attribute_bytes(attributes)).hexdigest()
    running = RunningDigest(target.dtype, target.shape)
    row_bytes = target.dtype.itemsize * max(1, int(np.prod(target.shape[1:])))
    # Whole chunks, as a chunk read twice is checked twice.
    per_chunk = target.chunks[0] if target.chunks else 1
    step = max(1, _BLOCK_BYTES // (row_bytes * per_chunk)) * per_chunk
    for start in range(0, target.shape[0], step):
        running.add(target[start : start + step])
    return running.end(attributes)


def plain_attributes(target: Any) -> dict[str, object]:
    """The attributes of an h5 object that are numbers or text of fixed length."""
    found: dict[str, object] = {}
    for name in target.attrs:
        try:
            kind = target.attrs.get_id(name).dtype.kind
        except (TypeError, ValueError):  # of a kind that slidenet never writes
            continue
        if kind in "iufbS":
            found[name] = target.attrs[name]
    return found


def content_digest(digests: Digests) -> str:
    """The digest of everything but the attributes of `/slidenet`, as those who use a file name it.

    It stays when the same content is written again by another version of slidenet or from a slide
    under another path; what the settings were is compared by identity.
    """
    datasets = {name: digest for name, digest in digests.items() if name != schema.GROUP}
    return _new(canonical_json(datasets).encode()).hexdigest()


def write_digests(h5: Any, datasets: Digests) -> None:
    """Adds the digests to a file all of whose attributes have been written.

    Args:
        h5: The open file.
        datasets: Digest of each dataset.
    """
    group = h5[schema.GROUP]
    text = canonical_json({**datasets, schema.GROUP: digest_of(group)}).encode()
    group.attrs.create(schema.DIGESTS, text, dtype=h5py.string_dtype("utf-8", len(text)))


def read_digests(h5: Any, path: Path) -> Digests | None:
    """The digests a file carries; None where it was written before there were any.

    Raises:
        StoreError: They are no mapping of texts.
    """
    attributes = h5[schema.GROUP].attrs
    if schema.DIGESTS not in attributes:
        return None
    text = attributes[schema.DIGESTS]
    try:
        digests = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(d, str) for d in digests.values()):
        raise StoreError(
            f"{path}: attribute {schema.DIGESTS!r} is no JSON mapping of digests",
            remedy="delete the file and make it again",
        )
    return digests


def check_digests(h5: Any, path: Path, *, deep: bool) -> list[str]:
    """What does not agree with the digests of a file whose structure is known to be right.

    Args:
        h5: The open file.
        path: Its path, for messages.
        deep: Whether `/features`, the only dataset of any size, is read and compared, too.

    Returns:
        A sentence for each dataset, and for the attributes; empty where all agree or the file
        carries no digests.

    Raises:
        StoreError: The digests themselves are broken.
        OSError: HDF5 cannot read a dataset.
    """
    digests = read_digests(h5, path)
    if digests is None:
        return []
    kind = str(attribute_value(h5[schema.GROUP], "format"))
    known = (*schema.DATASETS[kind], *schema.REGION_DATASETS)
    datasets = [name for name in known if holds(h5, name)]
    problems = [
        f"/{name} has no digest, though other parts of the file have one"
        for name in (schema.GROUP, *datasets)
        if name not in digests
    ]
    problems += [
        f"/{name} is missing, though there is a digest of it"
        for name in digests
        if name not in (schema.GROUP, *datasets)
    ]
    compared: list[tuple[str, Callable[[], str]]] = [
        (schema.GROUP, partial(digest_of, h5[schema.GROUP]))
    ]
    compared += [
        (name, partial(digest_of, h5[name])) for name in datasets if deep or name != schema.FEATURES
    ]
    for name, digest in compared:
        if name in digests and digest() != digests[name]:
            problems.append(changed(name))
    return problems


def refuse_changed(h5: Any, path: Path) -> None:
    """Reads all that a file carries digests of, and refuses it where it is not what was written.

    Raises:
        StoreError: Naming the file and the part.
    """
    for problem in check_digests(h5, path, deep=True):
        raise StoreError(f"{path}: {problem}", remedy="delete the file and make it again")


def changed_error(path: Path, name: str) -> StoreError:
    """The error for a dataset that is not what was written."""
    return StoreError(f"{path}: {changed(name)}", remedy="delete the file and make it again")


def changed(name: str) -> str:
    """The sentence about a part of a file that is not what was written."""
    if name == schema.GROUP:
        return f"the attributes of /{name} are not what was written (their digest is another one)"
    return f"/{name} is not what was written (its digest is another one)"


def _attribute_bytes(attributes: Mapping[str, object]) -> bytes:
    """One text for the same attributes, whether they come from Python or from a file."""
    described = {}
    for name, value in attributes.items():
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            described[name] = ["text", [], value.hex()]
        else:
            array = np.asarray(value)
            array = array.astype(array.dtype.newbyteorder("<"))
            described[name] = [array.dtype.str, list(array.shape), array.tobytes().hex()]
    return json.dumps(described, sort_keys=True).encode()
