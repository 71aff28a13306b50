"""Maps as AnnData, so that scanpy, squidpy and others plot and cluster tiles as they do spots."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidenet.core.arrays import FeatureRows, UInt8Array
from slidenet.core.errors import CoordinateError
from slidenet.core.escapes import in_terminal
from slidenet.core.extras import require_extra
from slidenet.core.provenance import canonical_json
from slidenet.explanation.exports.columns import map_facts, map_names, without_repeats
from slidenet.stores.atomic import atomic_path
from slidenet.stores.tile_maps import TileMaps

if TYPE_CHECKING:
    import anndata

FRAME = "level-0 pixels, (x, y) of the centre of each tile"


def write_anndata(
    path: str | os.PathLike[str],
    maps: TileMaps,
    *,
    features: FeatureRows | None = None,
    overview: UInt8Array | None = None,
) -> Path:
    """Writes `as_anndata` as .h5ad; whole or not at all.

    Raises:
        CoordinateError: As `as_anndata`.
        MissingExtraError: anndata is not installed.
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    table = as_anndata(maps, features=features, overview=overview)
    with atomic_path(path, slide=maps.slide_id) as temporary:
        # Features hardly shrink, and gzip takes 2 ms for each: 44 s for 20,000 of length 1536.
        table.write_h5ad(temporary, compression="gzip" if features is None else None)
    return path


def as_anndata(
    maps: TileMaps, *, features: FeatureRows | None = None, overview: UInt8Array | None = None
) -> "anndata.AnnData":
    """The maps of one slide with an observation per tile.

    `obs` has `slide_id`, `tile` (its number from 0), `x` and `y` (top-left corner, level-0 pixels)
    and a column per map with its raw numbers, NaN where a tile is in no bag; names are made plain
    (`plain_name`), and `uns` has the true ones. `obsm["spatial"]` has the centres of the tiles,
    level-0 pixels. `X` has the features, where they are given. In `uns`, `slidenet` says what the
    maps mean (`maps`, a table), of which slide and model they are, and what the model says;
    `spatial` is what scanpy and squidpy ask for to draw the slide beneath.

    Args:
        maps: The maps of one slide. Tiles whose places nobody knows have no `x`, `y` and `spatial`.
        features: (N, D), one row per tile.
        overview: uint8 RGB (h, w, 3), the whole slide.

    Raises:
        CoordinateError: Another number of features than of tiles.
        MissingExtraError: anndata is not installed.
    """
    library = require_extra("anndata", extra="anndata", purpose="an AnnData of tile maps")
    pandas = require_extra("pandas", extra="anndata", purpose="an AnnData of tile maps")
    num_tiles, geometry = len(maps.coords), maps.geometry
    if features is not None and features.shape[0] != num_tiles:
        raise CoordinateError(
            f"{features.shape[0]} rows of features and {num_tiles} tiles",
            expected="one row per tile",
            slide=maps.slide_id,
        )
    slide_id = in_terminal(maps.slide_id)
    rows = pandas.Index([f"{slide_id}_{tile}" for tile in range(num_tiles)], dtype=object)
    obs: dict[str, Any] = {
        "slide_id": pandas.Categorical([slide_id] * num_tiles, categories=[slide_id]),
        "tile": np.arange(num_tiles),
    }
    if geometry.placed:
        obs |= {"x": maps.coords[:, 0], "y": maps.coords[:, 1]}
    names = without_repeats([*obs, *map(plain_name, map_names(maps.maps))], "_{}")[len(obs) :]
    obs |= {name: each.values for name, each in zip(names, maps.maps, strict=True)}
    matrix = None if features is None else np.asarray(features[slice(0, num_tiles)], np.float32)
    table = library.AnnData(
        X=matrix,
        obs=pandas.DataFrame(obs, index=rows),
        var=None
        if matrix is None
        else pandas.DataFrame(
            index=pandas.Index([f"feature_{i}" for i in range(matrix.shape[1])], dtype=object)
        ),
    )
    table.uns["slidenet"] = _provenance(maps, names, pandas)
    if geometry.placed:
        side = geometry.tile_size_px * geometry.scale
        table.obsm["spatial"] = maps.coords + side / 2
        if overview is not None:
            table.uns["spatial"] = {plain_name(slide_id): _picture(maps, overview, side)}
    return table


def plain_name(name: str) -> str:
    """A name of letters, digits, dots, hyphens and underscores: "attention_tumour_not_evidence".

    In HDF5 a slash begins a folder, and SpatialData takes no other signs.
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("_") or "_"


def _provenance(maps: TileMaps, names: list[str], pandas: Any) -> Mapping[str, Any]:
    facts = [{**map_facts(one), "details": canonical_json(one.details)} for one in maps.maps]
    described = pandas.DataFrame(facts, index=pandas.Index(names, dtype=object))
    for name in ("lowest", "highest"):
        described[name] = described[name].astype(float)
    return {
        "slide_id": maps.slide_id,
        "slide_path": maps.slide_path,
        "slide_fingerprint": maps.fingerprint,
        "slide_mpp": float(maps.geometry.slide_mpp.value),
        "target_mpp": float(maps.geometry.target_mpp),
        "tile_size_level0": int(maps.geometry.tile_size_level0),
        "spatial_frame": FRAME,
        "identity": canonical_json(maps.identity),
        "prediction": canonical_json(maps.prediction),
        "maps": described,
    }


def _picture(maps: TileMaps, overview: UInt8Array, side: float) -> Mapping[str, Any]:
    """What scanpy and squidpy call a library: the picture and its scale."""
    return {
        "images": {"hires": overview},
        "scalefactors": {
            "tissue_hires_scalef": overview.shape[1] / maps.geometry.level0_width,
            "spot_diameter_fullres": side,
        },
        "metadata": {},
    }
