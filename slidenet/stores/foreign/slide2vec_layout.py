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
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import StoreError
from slidenet.stores.foreign.bag_features import BagFacts, BagFeatures
from slidenet.stores.foreign.geometry import Geometry, Given
from slidenet.stores.foreign.torch_file import read_tensor

_REMEDY = "give the whole output folder of slide2vec, with its folder tiles"


class _Slide2vecSource:
    """Both kinds of file are read whole: neither can be read in part."""

    def __init__(self, path: Path, coords_path: Path, shape: tuple[int, int]) -> None:
        self._path = path
        self._coords_path = coords_path
        self._shape = shape

    def read_features(self, where: Any) -> npt.NDArray[np.floating]:
        features = self._features()
        if features.shape != self._shape:
            raise StoreError(
                f"{self._path} holds features of shape {features.shape}",
                expected=f"{self._shape}, as its {self._path.stem}.meta.json says",
                remedy="make the file again",
            )
        rows: npt.NDArray[np.floating] = features[where]
        return rows if rows.dtype in (np.float16, np.float32) else rows.astype(np.float32)

    def read_coords(self) -> npt.NDArray[np.int64]:
        arrays = _read_npz(self._coords_path, ("x", "y", "tile_index"))
        if "x" not in arrays or "y" not in arrays:
            raise StoreError(f"{self._coords_path} has no arrays x and y", remedy=_REMEDY)
        coords = np.stack([arrays["x"], arrays["y"]], axis=1).astype(np.int64)
        if self._path.suffix != ".npz":
            return coords
        wanted = _read_npz(self._path, ("tile_index",)).get("tile_index")
        if wanted is None:
            return coords
        index = arrays.get("tile_index", np.arange(len(coords)))
        order = np.argsort(index, kind="stable")
        found = np.searchsorted(index, wanted, sorter=order).clip(max=len(index) - 1)
        rows = order[found]
        if (index[rows] != wanted).any():
            raise StoreError(
                f"{self._path}: its tile_index names tiles that {self._coords_path} does not hold",
                remedy=_REMEDY,
            )
        picked: npt.NDArray[np.int64] = coords[rows]
        return picked

    def read_mask(self) -> npt.NDArray[np.bool_]:
        return np.ones(self._shape[0], dtype=np.bool_)

    def close(self) -> None:
        """Nothing stays open."""

    def _features(self) -> npt.NDArray[np.floating]:
        if self._path.suffix == ".pt":
            return read_tensor(self._path)
        arrays = _read_npz(self._path, ("features",))
        if "features" not in arrays:
            raise StoreError(f"{self._path} has no array features", remedy=_REMEDY)
        return arrays["features"]


def read_slide2vec(given: Given) -> BagFeatures:
    """A features file of slide2vec.

    Raises:
        StoreError: Not of tiles, or the coordinates or the resolution cannot be found.
    """
    path = given.path
    meta_path = path.with_name(f"{path.stem}.meta.json")
    if not meta_path.is_file():
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
    space = tiling.get("artifact", {}).get("coordinate_space", "level_0")
    if space != "level_0":
        raise StoreError(
            f"{coords_path} is counted in {space!r}", expected="level-0 pixels", remedy=_REMEDY
        )
    geometry = Geometry(
        given.settle("slide_mpp", tiling.get("slide", {}).get("base_spacing_um"), tolerance=0.05),
        int(given.settle("tile_size_px", meta.get("requested_tile_size_px"))),
        given.settle("target_mpp", meta.get("requested_spacing_um")),
    )
    names = ("encoder_name", "output_variant", "requested_tile_size_px", "requested_spacing_um")
    facts = BagFacts(
        path=path,
        slide_id=str(meta.get("sample_id") or path.stem),
        layout="slide2vec",
        num_tiles=int(meta.get("num_tiles") or 0),
        feature_dim=int(meta.get("feature_dim") or 0),
        geometry=geometry,
        identity={"layout": "slide2vec"} | {name: meta.get(name) for name in names},
    )
    source = _Slide2vecSource(path, coords_path, (facts.num_tiles, facts.feature_dim))
    return BagFeatures(facts, source)


def _beside(path: Path, meta: dict[str, Any], key: str, ending: str) -> Path:
    """A file of the folder `tiles`, else where the JSON says it was written."""
    parts = path.parent.parts
    places = []
    if "tile_embeddings" in parts:
        at = len(parts) - 1 - parts[::-1].index("tile_embeddings")
        tiles = Path(*parts[:at], "tiles", *parts[at + 1 :])
        places.append(tiles / f"{path.stem}{ending}")
    places.append(path.with_name(f"{path.stem}{ending}"))
    if meta.get(key):
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
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} is no JSON mapping", remedy=_REMEDY)
    return value


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} cannot be read as an npz archive ({error})") from error
