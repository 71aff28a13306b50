"""What a file of ours must look like before anyone reads numbers from it.

The check is cheap (no data is read), so every reader runs it; `validate_file` adds the contents.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slidenet.core.errors import StoreError
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import attribute_problem, attribute_value


def check_layout(h5: Any, path: Path, *, expected: str = "") -> str:
    """Refuses a file that is not ours, too new, incomplete or of the wrong kind.

    Args:
        h5: The open file.
        path: Its path, for messages.
        expected: The kind wanted (`schema.TILES_FORMAT` ...); any kind when empty.

    Returns:
        The kind of file found.

    Raises:
        StoreError: Naming the file and what is wrong with it.
    """
    kind, problems = layout_problems(h5)
    if not problems and expected and kind != expected:
        problems = [f"it is a {kind} file, not a {expected} file"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StoreError(
            f"{path}: {problems[0]}{more}",
            remedy="check the path; `slidenet validate` lists everything that is wrong",
        )
    return kind


def layout_problems(h5: Any) -> tuple[str, list[str]]:
    """The kind of an open file, and what is wrong with its structure."""
    if not isinstance(h5.get(schema.GROUP), h5py.Group):
        return "", [f"it has no group /{schema.GROUP}, so it was not written by slidenet"]
    group = h5[schema.GROUP]
    wrong = [attribute_problem(group, n, t) for n, t in schema.COMMON_ATTRIBUTES.items()]
    if any(wrong):
        return "", [problem for problem in wrong if problem]
    kind, version = str(attribute_value(group, "format")), int(group.attrs["format_version"])
    if kind not in schema.DATASETS:
        return kind, [f"its format {kind!r} is none of {', '.join(schema.DATASETS)}"]
    if not 1 <= version <= schema.FORMAT_VERSION:
        return kind, [
            f"its format version is {version}, this slidenet reads up to {schema.FORMAT_VERSION}"
            " (a newer slidenet is needed)"
        ]
    problems = [attribute_problem(group, n, t) for n, t in schema.KIND_ATTRIBUTES[kind].items()]
    for name, (dtypes, num_axes) in schema.DATASETS[kind].items():
        problems += _dataset_problems(h5, name, dtypes, num_axes)
    problems = [problem for problem in problems if problem]
    if not problems:
        problems = _shape_problems(h5, kind, group)
    if schema.COORDS in schema.DATASETS[kind] and schema.COORDS in h5:
        problems += _coords_attribute_problems(h5[schema.COORDS])
    return kind, problems


def _dataset_problems(h5: Any, name: str, dtypes: tuple[str, ...], num_axes: int) -> list[str]:
    dataset = h5.get(name)
    if not isinstance(dataset, h5py.Dataset):
        return [f"dataset /{name} is missing"]
    problems = []
    if dataset.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        problems.append(f"/{name} is {dataset.dtype}; expected {' or '.join(dtypes)}")
    if dataset.shape is None or len(dataset.shape) != num_axes:
        problems.append(f"/{name} has shape {dataset.shape}; expected {num_axes} axes")
    return problems


def _shape_problems(h5: Any, kind: str, group: Any) -> list[str]:
    num_tiles = int(group.attrs["num_tiles"])
    wanted: dict[str, tuple[int, ...]] = {}
    if kind == schema.SLIDE_EMBEDDING_FORMAT:
        wanted[schema.SLIDE_EMBEDDING] = (int(group.attrs["feature_dim"]),)
    else:
        wanted[schema.COORDS] = (num_tiles, 2)
        wanted[schema.TISSUE_FRACTION] = (num_tiles,)
    if kind == schema.FEATURES_FORMAT:
        wanted[schema.STATUS] = (num_tiles,)
        wanted[schema.FEATURES] = (num_tiles, int(group.attrs["feature_dim"]))
    return [
        f"/{name} has shape {h5[name].shape}; expected {shape} by the attributes of the file"
        for name, shape in wanted.items()
        if h5[name].shape != shape
    ]


def _coords_attribute_problems(coords: Any) -> list[str]:
    found = [attribute_problem(coords, n, t) for n, t in schema.COORDS_ATTRIBUTES.items()]
    return [problem for problem in found if problem]
