"""h5 files of strangers: opened, and what stands in them taken for no more than a claim."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.errors import StoreError
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import MOST_TEXT_BYTES
from slidenet.stores.h5.file import open_h5
from slidenet.stores.h5.plain import (
    heap_problem,
    holds,
    reference_problem,
    refuse_unless_plain,
)

_LARGE = 1e9
"""No size, level or magnification is larger."""


def check_arrays(h5: Any, path: Path, *, features: str) -> tuple[int, int, np.dtype[Any]]:
    """Refuses shapes and types no layout has, from the headers alone.

    Args:
        h5: The open file.
        path: Its path, for messages.
        features: Name of the dataset of features.

    Returns:
        N, D and the type in which features are read.

    Raises:
        StoreError: Naming the file and the dataset at fault.
    """
    refuse_unless_plain(h5, path, features, "coords")
    shapes = {}
    for name in (features, "coords"):
        shape, kind = h5[name].shape, h5[name].dtype.kind
        shapes[name] = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        good = len(shapes[name]) == 2 and kind in ("f" if name == features else "iuf")
        if not good or (name == "coords" and shapes[name][1] != 2):
            raise StoreError(
                f"{path}: /{name} is {h5[name].dtype} of shape {shape}",
                expected="whole numbers (N, 2)" if name == "coords" else "floats (N, D)",
                remedy="check that these are features of tiles, then make the file again",
            )
    (num_tiles, feature_dim), num_coords = shapes[features], shapes["coords"][0]
    if num_coords != num_tiles:
        raise StoreError(
            f"{path} holds {num_coords} coords and {num_tiles} features",
            expected="one place per feature vector",
            remedy="make the file again",
        )
    dtype = np.dtype(np.float16 if h5[features].dtype == np.float16 else np.float32)
    return int(num_tiles), int(feature_dim), dtype


@contextmanager
def open_strange(path: Path) -> Iterator[Any]:
    """Opens an h5 file that anybody may have written; what features lie in leads nowhere else.

    Raises:
        StoreError: It is no HDF5 or broken, or a dataset or group in it is a link.
    """
    with open_h5(path) as h5:
        for name in (schema.GROUP, "features", "feats", "coords", "imgs"):
            problem = reference_problem(h5, name)
            if problem:
                raise StoreError(
                    f"{path}: {problem}",
                    remedy="ask for the file itself with all its data in it, or make it again",
                )
        # Text of ours has a fixed length; that of others is looked at before HDF5 does.
        problem = "" if holds(h5, schema.GROUP) else heap_problem(path, whole=False)
        if problem:
            raise StoreError(f"{path}: {problem}", remedy="copy the file again, or make it again")
        yield h5


def text_attribute(target: Any, name: str, path: Path) -> str | None:
    """One attribute that is text, None where the file has none.

    Raises:
        StoreError: It is something else.
    """
    value = attribute(target, name)
    if value is None or isinstance(value, str):
        return value
    raise _strange_attribute(target, name, path, "text")


def number_attribute(target: Any, name: str, path: Path, *, signed: bool = False) -> Any:
    """One attribute that is a number of 0 or more, None where the file has none.

    Args:
        target: The open group or dataset.
        name: Of the attribute.
        path: The file, for messages.
        signed: Whether it may be less than 0.

    Raises:
        StoreError: It is something else.
    """
    value = attribute(target, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    size = abs(value) if signed and is_number else value
    if value is None or (is_number and (size == 0 or 1 / _LARGE < size < _LARGE)):
        return value
    raise _strange_attribute(target, name, path, "a number" + (" of 0 or more") * (not signed))


def _strange_attribute(target: Any, name: str, path: Path, expected: str) -> StoreError:
    return StoreError(
        f"{path}: attribute {name!r} of {target.name} is {str(attribute(target, name))[:40]!r}",
        expected=expected,
        remedy="make the file again",
    )


def attribute(target: Any, name: str) -> Any:
    """One attribute as plain Python: text as str, one-element arrays as their element, else None.

    CLAM writes pairs (a downsample in x and in y); of those the first is taken.
    """
    if name not in target.attrs:
        return None
    try:
        if target.attrs.get_id(name).get_storage_size() > MOST_TEXT_BYTES:
            return "..."
        value = target.attrs[name]
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"{target.file.filename}: attribute {name!r} of {target.name} cannot be read ({error})",
            remedy="copy the file again, or make it again",
        ) from error
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return value.reshape(-1)[0].item() if value.size else None
    return value.item() if isinstance(value, np.generic) else value
