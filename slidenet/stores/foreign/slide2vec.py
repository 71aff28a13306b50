"""Features written by slide2vec: a tensor (`.pt`) or archive (`.npz`) with a JSON file beside it.

::

    tile_embeddings/[<class>/]<slide>.pt or .npz      features (N, D) float16 or float32
    tile_embeddings/[<class>/]<slide>.meta.json       artifact_type, encoder_name, sizes, paths of:
    tiles/[<class>/]<slide>.coordinates.npz           x, y int64 (N,), level-0 px, in that order
    tiles/[<class>/]<slide>.coordinates.meta.json     slide.base_spacing_um, tiling.*, ...

An `.npz` may hold `tile_index`, the index of each row among the coordinates. The paths written in
the JSON are those of the machine that made it; the same files in the folder `tiles` come first.
"""

import json
import math
import zipfile
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import StoreError
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.h5.attributes import MOST_TEXT_BYTES, json_problem
from slidenet.stores.h5.plain import MOST_EXPANSION, SMALL_BYTES
from slidenet.weights.files import read_tensor_file

_LARGE = 1e9
_REMEDY = "give the whole output folder of slide2vec, with its folder tiles"


@dataclass(frozen=True)
class _Slide2vecSource:
    """Both kinds of file are read whole: neither can be read in part.

    Attributes:
        path: The tensor or archive.
        coords_path: The archive of coordinates.
        shape: (N, D), as the JSON file says.
    """

    path: Path
    coords_path: Path
    shape: tuple[int, int]

    def open(self) -> AbstractContextManager[None]:
        """Nothing stays open between two reads."""
        return nullcontext()

    def read_features(self, handle: None, where: Any) -> FloatArray:
        """Rows of the features; other types than float16 and float32 become float32."""
        if self.path.suffix == ".pt":
            features = _read_tensor(self.path)
        else:
            arrays = _read_npz(self.path, ("features",))
            if "features" not in arrays:
                raise StoreError(f"{self.path} has no array features", remedy=_REMEDY)
            features = arrays["features"]
        if features.shape != self.shape:
            raise StoreError(
                f"{self.path} holds features of shape {features.shape}",
                expected=f"{self.shape}, as its {self.path.stem}.meta.json says",
                remedy="make the file again",
            )
        rows: FloatArray = features[where]
        return rows if rows.dtype in (np.float16, np.float32) else rows.astype(np.float32)

    def proof(self, handle: None) -> None:
        """None: slide2vec writes no digests."""
        return

    def read_coords(self, handle: None) -> IntArray:
        """int64 (N, 2), level-0 px, of the tiles that the archive of features names."""
        arrays = _read_npz(self.coords_path, ("x", "y", "tile_index"))
        if "x" not in arrays or "y" not in arrays:
            raise StoreError(f"{self.coords_path} has no arrays x and y", remedy=_REMEDY)
        _check_columns(self.coords_path, arrays)
        coords = np.stack([arrays["x"], arrays["y"]], axis=1).astype(np.int64)
        if self.path.suffix != ".npz":
            return coords
        wanted = _read_npz(self.path, ("tile_index",)).get("tile_index")
        if wanted is None:
            return coords
        _check_columns(self.path, {"tile_index": wanted})
        index = arrays.get("tile_index", np.arange(len(coords)))
        order = np.argsort(index, kind="stable")
        found = np.searchsorted(index, wanted, sorter=order).clip(max=max(0, len(index) - 1))
        rows = order[found] if len(index) else found
        if not len(index) or (index[rows] != wanted).any():
            raise StoreError(
                f"{self.path}: its tile_index names tiles that {self.coords_path} does not hold",
                remedy=_REMEDY,
            )
        picked: IntArray = coords[rows]
        return picked

    def read_status(self, handle: None) -> npt.NDArray[np.uint8]:
        """Every tile is real: slide2vec does not write a tile it could not read."""
        return np.zeros(self.shape[0], np.uint8)

    def read_tissue_fraction(self, handle: None) -> None:
        """None: the shares are not read."""
        return

    def read_region_columns(self, handle: None) -> None:
        """None: slide2vec knows no regions."""
        return


def _check_columns(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Refuses columns that are no whole numbers, or of different length."""
    lengths = {a.shape if a.ndim == 1 and a.dtype.kind in "iu" else None for a in arrays.values()}
    if len(lengths) != 1 or None in lengths:
        raise StoreError(
            f"{path} holds {', '.join(f'{n} {a.dtype} {a.shape}' for n, a in arrays.items())}",
            expected="columns of whole numbers, all of one length",
            remedy=_REMEDY,
        )


def has_slide2vec_json(path: Path) -> bool:
    """Whether the JSON file that slide2vec writes lies beside a tensor."""
    return path.with_name(f"{path.stem}.meta.json").is_file()


def read_slide2vec(given: GivenGeometry) -> FeatureFile:
    """A features file of slide2vec.

    Args:
        given: What the caller says of it.

    Raises:
        StoreError: Not of tiles, or the coordinates or the resolution cannot be found.
    """
    path = given.path
    meta_path = path.with_name(f"{path.stem}.meta.json")
    if not has_slide2vec_json(path):
        raise StoreError(
            f"{path} has no {meta_path.name} beside it",
            expected="slide2vec's features with their JSON file",
            remedy=_REMEDY,
        )
    meta = _read_json(meta_path)
    kind = meta.get("artifact_type")
    if kind != "tile_embeddings":
        raise StoreError(
            f"{meta_path} says artifact_type {kind!r}",
            expected="'tile_embeddings'",
            remedy="give the folder tile_embeddings of slide2vec's output",
        )
    coords_path = _beside(path, meta, "coordinates_npz_path", ".coordinates.npz")
    tiling = _read_json(_beside(path, meta, "coordinates_meta_path", ".coordinates.meta.json"))
    space = _inside(tiling, "artifact").get("coordinate_space", "level_0")
    if space != "level_0":
        raise StoreError(
            f"{coords_path} is counted in {space!r}", expected="level-0 pixels", remedy=_REMEDY
        )
    num_tiles, feature_dim = (
        int(_number(meta, n, path) or 0) for n in ("num_tiles", "feature_dim")
    )
    names = ("encoder_name", "output_variant", "requested_tile_size_px", "requested_spacing_um")
    return FeatureFile(
        path=path,
        layout="slide2vec",
        slide_id=str(meta.get("sample_id") or path.stem),
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        dtype=None,
        slide_mpp=given.resolve(
            "slide_mpp", _number(_inside(tiling, "slide"), "base_spacing_um", path), tolerance=0.05
        ),
        tile_size_px=given.tile_size(_number(meta, "requested_tile_size_px", path)),
        target_mpp=given.resolve("target_mpp", _number(meta, "requested_spacing_um", path)),
        identity={"layout": "slide2vec"} | {name: meta.get(name) for name in names},
        source=_Slide2vecSource(path, coords_path, (num_tiles, feature_dim)),
    )


def _beside(path: Path, meta: dict[str, Any], key: str, ending: str) -> Path:
    """A file of the folder `tiles`, else where the JSON says it was written."""
    parts = path.parent.parts
    places = []
    if "tile_embeddings" in parts:
        at = len(parts) - 1 - parts[::-1].index("tile_embeddings")
        tiles = Path(*parts[:at], "tiles", *parts[at + 1 :])
        places.append(tiles / f"{path.stem}{ending}")
    places.append(path.with_name(f"{path.stem}{ending}"))
    if isinstance(meta.get(key), str):
        places.append(Path(meta[key]))
    for place in places:
        if place.is_file():
            return place
    raise StoreError(
        f"{path}: the places of its tiles are not found at {' or '.join(map(str, places))}",
        expected=f"{path.stem}{ending}",
        remedy=_REMEDY,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_TEXT_BYTES:
            raise StoreError(f"{path} is longer than any JSON file of slide2vec", remedy=_REMEDY)
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as JSON ({error})") from error
    problem = json_problem(text)
    if problem:
        raise StoreError(f"{path} {problem}", remedy=_REMEDY)
    mapping: dict[str, Any] = json.loads(text)
    return mapping


def _inside(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}


def _number(mapping: dict[str, Any], name: str, path: Path) -> float | None:
    """A number of a JSON file, None where it is missing.

    Raises:
        StoreError: It is something else.
    """
    value = mapping.get(name)
    if value is None or (type(value) in (int, float) and 0 <= value < _LARGE):
        return value
    raise StoreError(
        f"the JSON files of {path} say {name} {str(value)[:40]!r}",
        expected="a number of 0 or more",
        remedy=_REMEDY,
    )


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        _check_sizes(path, names)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{path} cannot be read as an npz archive ({error})") from error


def _check_sizes(path: Path, names: tuple[str, ...]) -> None:
    """Refuses arrays that are not there as a whole, or much larger than what they are packed in.

    Raises:
        ValueError: Naming the array.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.removesuffix(".npy") not in names:
                continue
            if info.file_size > max(SMALL_BYTES, MOST_EXPANSION * info.compress_size):
                raise ValueError(
                    f"{info.filename}: {info.file_size} bytes packed in {info.compress_size}"
                )
            with archive.open(info) as member:
                newest = read_magic(member) > (1, 0)
                read = read_array_header_2_0 if newest else read_array_header_1_0
                shape, _, dtype = read(member)
                if math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
                    raise ValueError(f"{info.filename}: an array of shape {shape} is not there")


def _read_tensor(path: Path) -> FloatArray:
    """The one tensor of a `.pt` file as an array; bfloat16 becomes float32."""
    import torch  # here, so that reading h5 files starts without it

    value = read_tensor_file(
        path,
        what="tensor",
        error=StoreError,
        missing=StoreError,
        expected="one tensor saved by torch.save",
        remedy="make the file again",
    )
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
        raise StoreError(f"{path} holds {kind}", expected="one tensor of floats")
    if value.dtype not in (torch.float16, torch.float32):
        value = value.float()
    array: FloatArray = value.numpy()
    return array
