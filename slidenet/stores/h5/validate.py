"""What is wrong with a file of ours: a cheap check that every reader runs, and a complete one."""

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slidenet.core import status as codes
from slidenet.core.errors import StoreError
from slidenet.core.provenance import canonical_json, identity_hash
from slidenet.core.records import TileGeometry
from slidenet.core.text import name_some, plural
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import (
    attribute_problem,
    attribute_value,
    json_problem,
)
from slidenet.stores.h5.digests import check_digests, read_digests
from slidenet.stores.h5.file import open_h5
from slidenet.stores.h5.geometry import (
    coords_attributes,
    geometry_problems,
    stored_geometry,
)
from slidenet.stores.h5.plain import (
    dataset_problem,
    heap_problem,
    holds,
    reference_problem,
)
from slidenet.stores.h5.regions import has_regions, read_regions


def check_format(h5: Any, path: Path, *, expected: str = "") -> str:
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
    kind, problems = format_problems(h5)
    if not problems and expected and kind != expected:
        problems = [f"it is a {kind} file, not a {expected} file"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StoreError(
            f"{path}: {problems[0]}{more}",
            remedy="check the path; `slidenet validate` lists everything that is wrong",
        )
    return kind


def check_name(path: Path, slide_id: str) -> None:
    """Refuses an output that is about another slide than the one it is named after.

    Raises:
        StoreError: Naming both.
    """
    if not is_named_after(path, slide_id):
        raise StoreError(
            f"{path} says that it is about slide {slide_id!r}",
            expected=f"slide {path.stem!r}, by its name",
            remedy="give the file its old name back, or make it again",
        )


def is_named_after(path: Path, slide_id: str) -> bool:
    """Whether a file bears the name of its slide; file systems may write accents in two ways."""
    return unicodedata.normalize("NFC", path.stem) == unicodedata.normalize("NFC", slide_id)


def format_problems(h5: Any) -> tuple[str, list[str]]:
    """The kind of an open file, and what is wrong with its structure; no data is read."""
    problem = reference_problem(h5, schema.GROUP)
    if problem:
        return "", [problem]
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
    problems = [
        attribute_problem(group, n, t) for n, t in schema.kind_attributes(kind, version).items()
    ]
    datasets = dict(schema.DATASETS[kind])
    if kind in (schema.TILES_FORMAT, schema.FEATURES_FORMAT) and has_regions(h5):
        datasets |= schema.REGION_DATASETS
        problems += [attribute_problem(group, n, t) for n, t in schema.REGION_ATTRIBUTES.items()]
    for name, (dtypes, num_axes) in datasets.items():
        problems += _dataset_problems(h5, name, dtypes, num_axes)
    if kind == schema.TILES_FORMAT and schema.TISSUE_DOUBT in group.attrs:
        problems.append(attribute_problem(group, schema.TISSUE_DOUBT, float))
    for name in (schema.OBJECT_VERSION, schema.ASKED_DIGEST):
        if kind == schema.TILES_FORMAT and name in group.attrs:
            problems.append(attribute_problem(group, name, str))
    problems = [problem for problem in problems if problem]
    if not problems:
        num_tiles = int(group.attrs["num_tiles"])
        feature_dim = int(group.attrs.get("feature_dim", 0))
        shapes = {
            schema.COORDS: (num_tiles, 2),
            schema.TISSUE_FRACTION: (num_tiles,),
            schema.STATUS: (num_tiles,),
            schema.REGION: (num_tiles,),
            schema.REGION_SHARE: (num_tiles,),
            schema.FEATURES: (num_tiles, feature_dim),
            schema.SLIDE_EMBEDDING: (feature_dim,),
            schema.TILE_MAPS: (num_tiles, int(group.attrs.get("num_maps", 0))),
        }
        problems = [
            f"/{name} has shape {h5[name].shape}; expected {shape} by the attributes of the file"
            for name, shape in shapes.items()
            if name in datasets and h5[name].shape != shape
        ]
    if schema.TISSUE_FRACTION in datasets and not dataset_problem(h5, schema.COORDS):
        coords = h5[schema.COORDS]
        found = [attribute_problem(coords, n, t) for n, t in schema.COORDS_ATTRIBUTES.items()]
        problems += [problem for problem in found if problem]
    return kind, problems


def _dataset_problems(h5: Any, name: str, dtypes: tuple[str, ...], num_axes: int) -> list[str]:
    problem = dataset_problem(h5, name)
    if problem:
        return [problem]
    dataset, problems = h5[name], []
    if dataset.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        problems.append(f"/{name} is {dataset.dtype}; expected {' or '.join(dtypes)}")
    if len(dataset.shape) != num_axes:
        problems.append(f"/{name} has shape {dataset.shape}; expected {num_axes} axes")
    return problems


@dataclass(frozen=True)
class FileVerdict:
    """What a file of ours was found to be.

    Attributes:
        problems: One sentence per problem; empty for a sound file.
        has_digests: Whether it carries digests, so that nothing in it can have changed unseen.
        num_unread: Bytes of features that were not looked at.
    """

    problems: list[str]
    has_digests: bool = False
    num_unread: int = 0


def validate_file(path: str | os.PathLike[str]) -> list[str]:
    """Checks a file of any kind slidenet writes, all contents included.

    Args:
        path: The file.

    Returns:
        One sentence per problem; empty for a sound file. Memory does not grow with the number of
        tiles beyond their coordinates.
    """
    return inspect_file(path).problems


def inspect_file(path: str | os.PathLike[str], *, deep: bool = True) -> FileVerdict:
    """Checks a file of any kind slidenet writes.

    Args:
        path: The file, under the name of its slide.
        deep: Whether features are read, too, and the text that is there for other programs.
    """
    path = Path(path)
    try:
        with open_h5(path) as h5:
            kind, problems = format_problems(h5)
            if problems:
                return FileVerdict(problems)
            problems = _content_problems(h5, kind, path, deep=deep)
            if not problems and deep:
                h5py.h5o.visit(h5.id, lambda _: None)  # indices that no reading needs, too
                problems = _text_problems(h5, path)
            # What is wrong in plain sight says more than that something is.
            problems = problems or check_digests(h5, path, deep=deep)
            skipped = not deep and kind == schema.FEATURES_FORMAT
            num_unread = h5[schema.FEATURES].nbytes if skipped else 0
            return FileVerdict(problems, read_digests(h5, path) is not None, num_unread)
    except StoreError as error:
        return FileVerdict([str(error)])


def _content_problems(h5: Any, kind: str, path: Path, *, deep: bool) -> list[str]:
    group = h5[schema.GROUP]
    problems = _json_problems(group, kind)
    slide_id = str(attribute_value(group, "slide_id"))
    if not is_named_after(path, slide_id):
        problems.append(f"it says that it is about slide {slide_id!r}, which is not its name")
    if kind == schema.TILES_FORMAT and not 0 <= group.attrs.get(schema.TISSUE_DOUBT, 0) <= 1:
        problems.append(f"attribute {schema.TISSUE_DOUBT!r} is outside [0, 1]")
    if kind == schema.SLIDE_EMBEDDING_FORMAT:
        if not np.isfinite(h5[schema.SLIDE_EMBEDDING][:]).all():
            problems.append("/slide_embedding holds NaN or infinite values")
        return problems
    geometry = stored_geometry(group, path)
    wrong = geometry_problems(geometry)
    if kind == schema.TILE_MAPS_FORMAT:
        infinite = np.flatnonzero(np.isinf(h5[schema.TILE_MAPS][:]).any(axis=1))
        if len(infinite):
            problems.append(f"/{schema.TILE_MAPS} holds infinite values in {_rows(infinite)}")
        return problems + wrong
    if not wrong:
        wrong = _loader_problems(h5[schema.COORDS], geometry)
    problems += wrong + _coords_problems(h5[schema.COORDS][:], geometry)
    fraction = h5[schema.TISSUE_FRACTION][:]
    if not ((fraction >= 0) & (fraction <= 1)).all():
        problems.append(f"/{schema.TISSUE_FRACTION} holds values outside [0, 1]")
    try:
        read_regions(h5, path)
    except StoreError as error:
        problems.append(error.found.removeprefix(f"{path}: "))
    if kind == schema.FEATURES_FORMAT:
        problems += _feature_problems(h5, group, deep=deep)
    return problems


def _json_problems(group: Any, kind: str) -> list[str]:
    problems = []
    for name in ("recipe", "encoder", "tiles_recipe", "maps", "prediction"):
        if name not in group.attrs:
            continue
        text = str(attribute_value(group, name))
        wrong = json_problem(text)
        if wrong:
            problems.append(f"attribute {name!r} {wrong}")
        elif f"{name}_hash" in group.attrs:
            identity, stored = json.loads(text), attribute_value(group, f"{name}_hash")
            if identity_hash(identity) != stored or canonical_json(identity) != text:
                problems.append(f"attribute {name!r} does not belong to {name}_hash {stored!r}")
    return problems


def _loader_problems(coords: Any, geometry: TileGeometry) -> list[str]:
    """Numbers for public loaders that contradict the geometry; their text is not read."""
    wanted = coords_attributes(geometry, slide_id="")
    return [
        f"/coords attribute {name!r} is {attribute_value(coords, name)!r}; "
        f"the file's geometry says {value!r}"
        for name, value in wanted.items()
        if not isinstance(value, str) and coords.attrs[name] != value
    ]


def _coords_problems(coords: np.ndarray[Any, Any], geometry: TileGeometry) -> list[str]:
    problems = []
    negative = np.flatnonzero((coords < 0).any(axis=1))
    size = (geometry.level0_width, geometry.level0_height)
    outside = np.flatnonzero((coords >= size).any(axis=1))
    if len(negative):
        problems.append(f"/coords holds negative values in {_rows(negative)}")
    if len(outside):
        problems.append(
            f"/coords lies outside the slide of {size[0]} x {size[1]} in {_rows(outside)}"
        )
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    repeated = np.flatnonzero((np.diff(coords[order], axis=0) == 0).all(axis=1))
    if len(repeated):
        problems.append(
            f"/coords names the same tile twice in {_rows(np.sort(order[repeated + 1]))}"
        )
    if (order != np.arange(len(order))).any():
        problems.append("/coords is not sorted by y, then x")
    return problems


def _text_problems(h5: Any, path: Path) -> list[str]:
    """Text for other programs that does not say what it should; read once its heap is sound."""
    problem = heap_problem(path, whole=True)
    if problem:
        return [problem]
    slide_id = str(attribute_value(h5[schema.GROUP], "slide_id"))
    targets = [h5[name] for name in (schema.COORDS, schema.FEATURES) if holds(h5, name)]
    if attribute_value(h5[schema.GROUP], "format") == schema.TILE_MAPS_FORMAT:
        targets = []  # nobody else reads them as tiles
    return [
        f"{target.name} attribute {name!r} is {str(target.attrs[name])[:60]!r}; expected {value!r}"
        for target in targets
        for name, value in (("name", slide_id), ("savetodir", "."))
        if target.attrs.get(name) != value
    ]


def _feature_problems(h5: Any, group: Any, *, deep: bool) -> list[str]:
    features, status = h5[schema.FEATURES], h5[schema.STATUS][:]
    problems = []
    dtype = attribute_value(group, "dtype")
    if str(features.dtype) != dtype:
        problems.append(f"/features is {features.dtype}; attribute 'dtype' says {dtype}")
    known = schema.STATUS_CODES[int(group.attrs["format_version"])]
    unknown = np.flatnonzero(~np.isin(status, known))
    if len(unknown):
        texts = [str(code) for code in known]
        problems.append(
            f"/{schema.STATUS} holds codes other than {', '.join(texts[:-1])} and {texts[-1]} in "
            f"{_rows(unknown)}"
        )
    counted = {"num_unreadable": (codes.UNREADABLE, "unreadable")}
    if codes.EMPTY in known:
        counted["num_empty"] = (codes.EMPTY, "empty")
    for name, (code, words) in counted.items():
        count = int(np.count_nonzero(status == code))
        if count != group.attrs[name]:
            problems.append(
                f"{count} tiles are {words}; attribute {name!r} says {group.attrs[name]}"
            )
    if not deep:
        return problems
    infinite, not_zero = [], []
    for start in range(0, len(status), schema.CHUNK_ROWS):
        rows = features[start : start + schema.CHUNK_ROWS]
        bad = status[start : start + schema.CHUNK_ROWS] != codes.OK
        infinite.append(start + np.flatnonzero(~np.isfinite(rows).all(axis=1)))
        not_zero.append(start + np.flatnonzero((rows != 0).any(axis=1) & bad))
    for found, what in (
        (infinite, "NaN or infinite values"),
        (not_zero, "values other than zero for tiles that are not ok"),
    ):
        rows = np.concatenate(found) if found else np.empty(0, np.int64)
        if len(rows):
            problems.append(f"/features holds {what} in {_rows(rows)}")
    return problems


def _rows(rows: np.ndarray[Any, Any]) -> str:
    return f"{plural('row', len(rows))} {name_some(rows, most=3)}"
