"""The h5 files of slidenet, format version 2: names, types and meaning.

Four kinds of file share one layout. A reader refuses a version above the one it knows; a change
that an old reader would misread raises the version. Attributes and datasets that a reader does not
know are none of its business, so what is merely added does not raise it.

Version 1 was written before tiles were read at whole pixels. It lacks what is marked (2) below, has
checksums on ``/features`` alone, and is still written for slides that are read in the old way, so
that an output folder begun with it is finished with the same bytes.

Every kind carries a group ``/slidenet`` with these attributes:

========================== ======= ==============================================================
attribute                  type    meaning (str: UTF-8 of fixed length, `bytes` to plain h5py)
========================== ======= ==============================================================
``format``                 str     ``slidenet.tiles``, ``slidenet.features``,
                                   ``slidenet.slide_embedding`` or ``slidenet.tile_maps``
``format_version``         int64   2, or 1 for slides read in the old way
``software_version``       str     version of slidenet that wrote the file
``slide_id``               str     id of the slide in its cohort
``slide_fingerprint``      str     content fingerprint of the slide file
``recipe``                 str     canonical JSON of every setting that made the numbers
``recipe_hash``            str     first 16 hex digits of the SHA-256 of ``recipe``
========================== ======= ==============================================================

``slidenet.tiles`` (which tiles of a slide are used) adds

- ``/coords`` int64 (N, 2): (x, y) of each tile's top-left corner in level-0 pixels, sorted by y,
  then x, no tile twice. Its attributes are the ones the public loaders of TRIDENT and Patho-Bench
  look for: ``patch_size`` (tile side at the target resolution, px), ``patch_size_level0`` (the same
  in level-0 px, rounded), ``level0_magnification`` and ``target_magnification`` (float64, 10 / mpp,
  so that their ratio is the exact scale), ``overlap`` (px at the target resolution), ``name``
  (slide_id), ``savetodir`` (the folder the file lies in, relative to itself: ``.``; never a path
  of the machine that wrote it), ``level0_width``, ``level0_height``. Text here is of variable
  length (`str` to plain h5py), as those loaders expect;
- ``/slidenet/tissue_fraction`` float32 (N,): share of each tile covered by tissue, in [0, 1];
- attributes of ``/slidenet``: ``num_tiles``, ``slide_path`` (as it was given; an address without
  what gives rights; with it, where the store says them, ``object_version``, the version of the
  object, and ``asked_digest``, what was asked for, both text), and the geometry:
  ``slide_mpp``, ``slide_mpp_source``, ``target_mpp``, ``read_mpp`` (float64, microns per pixel),
  ``level``, ``tile_size_px``, ``stride_px``, ``read_size_px``, ``level0_width``, ``level0_height``;
  (2) ``reading`` (int64; 2: whole pixels of the level; a file without it has 1: blended where a
  tile starts between two pixels of the level) and ``shrinking`` (``area`` or ``jpeg``: who makes a
  tile of a larger square). Where the segmenter says it, ``tissue_doubt`` (float64, from 0, sure, to
  1: how unsure it was of the tissue); ``read_again`` (int64, 1) where something that decides the
  tiles could not be read, so that a later run chooses them again. Of tile images that another
  tool has cut, ``tile_frame`` (``level0``, ``tile``, ``grid``: what their places counted; ``none``:
  they have none, and ``/coords`` only numbers the tiles).

Where drawn regions were asked for, or a table of tile images says them, both ``slidenet.tiles`` and
``slidenet.features`` have, all or none of them,

- ``/slidenet/region`` uint16 (N,): the region with the largest share of each tile, as its place in
  the list of names, and ``/slidenet/region_share`` float32 (N,): that share of the tile's area, in
  (0, 1], without what is drawn out of the region;
- attributes of ``/slidenet``: ``region_names`` (a JSON list of texts without repeats; regions that
  no tile lies in are named, too) and ``region_by`` (``class``, ``name`` or ``core``: what regions
  are told apart by).

``slidenet.features`` (one vector per tile; read unchanged by loaders that expect ``features`` and
``coords``) holds all of the above, except that ``slide_path`` gives way to ``slide_name`` (the
file name alone: these files are handed around), and adds

- ``/features`` float16 or float32 (N, D), chunked by up to 256 rows with a checksum per chunk
  (HDF5's fletcher32), row i belongs to coords i; always finite. Attributes ``name`` and
  ``savetodir`` as on ``/coords``;
- ``/slidenet/status`` uint8 (N,): 0 = ok, 1 = the tile's pixels could not be read, (2) 2 = the
  slide stores no bytes for the tile. The features of a tile that is not ok are all zero, never NaN,
  because loaders that know nothing of ``status`` would spread a NaN over the slide;
- attributes of ``/slidenet``: ``feature_dim`` (D), ``dtype``, ``num_unreadable`` (tiles of status
  1), (2) ``num_empty`` (tiles of status 2), ``encoder`` (canonical JSON: id, weight digest,
  transform, precision), ``tiles_recipe`` (canonical JSON) and ``tiles_recipe_hash``.

``slidenet.slide_embedding`` (one vector per slide) has ``/slide_embedding`` float32 (D,), always
finite, and the attributes ``num_tiles``, ``feature_dim`` and ``encoder``.

``slidenet.tile_maps`` (what a model makes of each tile; always of version 2) has ``/coords``
without attributes for loaders, ``/maps`` float32 (N, M), NaN where a tile is in no bag, never
infinite, and the attributes ``num_tiles``, ``num_maps`` (M), ``slide_path`` (as it was given), the
geometry, ``maps`` (JSON: column number to ``method``, ``target``, ``signed``, ``unit``,
``is_evidence``, ``details`` and the raw ``range``) and ``prediction`` (JSON: bag_id to what the
model says of it).

(2) Every dataset that is not empty is stored in chunks with a checksum each (fletcher32). The
attribute ``digests`` of ``/slidenet`` is a JSON mapping to BLAKE2b digests of 16 bytes: of every
dataset by its path (its type, shape, numbers and attributes) and, as ``slidenet``, of the other
attributes of ``/slidenet``; text of variable length has no part in them (``stores.h5.digests``).
What a file was made from stands in it, too: ``tiles_digest`` in ``slidenet.features``, the digest
of all datasets of the tiles, and ``features_digest`` in ``slidenet.slide_embedding`` and
``slidenet.tile_maps``, that of the features. Files of version 2 written before these attributes
were there lack them.

The same input gives the same bytes: nothing in a file depends on the clock, the machine, the
output folder or on whether the work was interrupted.
"""

from typing import Any

from slidenet.core import status
from slidenet.core.records import BLENDED_READING, TileGeometry

FORMAT_VERSION = 2

GROUP = "slidenet"
COORDS = "coords"
FEATURES = "features"
STATUS = f"{GROUP}/status"
TISSUE_FRACTION = f"{GROUP}/tissue_fraction"
TISSUE_DOUBT = "tissue_doubt"
READ_AGAIN = "read_again"
OBJECT_VERSION, ASKED_DIGEST = "object_version", "asked_digest"
DIGESTS = "digests"
TILES_DIGEST = "tiles_digest"
FEATURES_DIGEST = "features_digest"
REGION = f"{GROUP}/region"
REGION_SHARE = f"{GROUP}/region_share"
SLIDE_EMBEDDING = "slide_embedding"
TILE_MAPS = "maps"

TILES_FORMAT = "slidenet.tiles"
FEATURES_FORMAT = "slidenet.features"
SLIDE_EMBEDDING_FORMAT = "slidenet.slide_embedding"
TILE_MAPS_FORMAT = "slidenet.tile_maps"

STATUS_CODES = {1: (status.OK, status.UNREADABLE), 2: (status.OK, status.UNREADABLE, status.EMPTY)}
"""Codes of `/slidenet/status` by format version."""

CHUNK_ROWS = 256
"""Rows per chunk of `/features`: slices of a bag and whole reads are both quick."""

SHORT_CHUNK_ROWS = 4096
"""Rows per chunk of datasets whose rows are a few bytes."""

COMMON_ATTRIBUTES: dict[str, type] = {
    "format": str,
    "format_version": int,
    "software_version": str,
    "slide_id": str,
    "slide_fingerprint": str,
    "recipe": str,
    "recipe_hash": str,
}

GEOMETRY_ATTRIBUTES: dict[str, type] = {
    "slide_mpp": float,
    "slide_mpp_source": str,
    "target_mpp": float,
    "read_mpp": float,
    "level": int,
    "tile_size_px": int,
    "stride_px": int,
    "read_size_px": int,
    "level0_width": int,
    "level0_height": int,
}

GEOMETRY_ATTRIBUTES_2: dict[str, type] = {**GEOMETRY_ATTRIBUTES, "reading": int, "shrinking": str}
"""Those of files of version 2."""

CUT_ATTRIBUTES: dict[str, type] = {"tile_frame": str}
"""Those of tile images besides; a file without them is of tiles cut from the slide."""

COORDS_ATTRIBUTES: dict[str, type] = {
    "patch_size": int,
    "patch_size_level0": int,
    "level0_magnification": float,
    "target_magnification": float,
    "overlap": int,
    "name": str,
    "savetodir": str,
    "level0_width": int,
    "level0_height": int,
}

_KIND_ATTRIBUTES: dict[str, dict[str, type]] = {
    TILES_FORMAT: {"num_tiles": int, "slide_path": str},
    FEATURES_FORMAT: {
        "num_tiles": int,
        "slide_name": str,
        "feature_dim": int,
        "dtype": str,
        "num_unreadable": int,
        "encoder": str,
        "tiles_recipe": str,
        "tiles_recipe_hash": str,
    },
    SLIDE_EMBEDDING_FORMAT: {"num_tiles": int, "feature_dim": int, "encoder": str},
    TILE_MAPS_FORMAT: {
        "num_tiles": int,
        "num_maps": int,
        "slide_path": str,
        "maps": str,
        "prediction": str,
    },
}

DATASETS: dict[str, dict[str, tuple[tuple[str, ...], int]]] = {
    TILES_FORMAT: {COORDS: (("int64",), 2), TISSUE_FRACTION: (("float32",), 1)},
    FEATURES_FORMAT: {
        COORDS: (("int64",), 2),
        TISSUE_FRACTION: (("float32",), 1),
        FEATURES: (("float16", "float32"), 2),
        STATUS: (("uint8",), 1),
    },
    SLIDE_EMBEDDING_FORMAT: {SLIDE_EMBEDDING: (("float32",), 1)},
    TILE_MAPS_FORMAT: {COORDS: (("int64",), 2), TILE_MAPS: (("float32",), 2)},
}
"""Datasets of each kind of file: allowed dtypes and number of axes."""

REGION_DATASETS: dict[str, tuple[tuple[str, ...], int]] = {
    REGION: (("uint16",), 1),
    REGION_SHARE: (("float32",), 1),
}
REGION_ATTRIBUTES: dict[str, type] = {"region_names": str, "region_by": str}
"""What files of tiles have where regions were asked for: all or nothing."""


ALL_DATASETS = (
    COORDS,
    TISSUE_FRACTION,
    REGION,
    REGION_SHARE,
    FEATURES,
    STATUS,
    SLIDE_EMBEDDING,
    TILE_MAPS,
)
"""Every dataset a file of ours may have."""


def kind_attributes(kind: str, version: int) -> dict[str, type]:
    """Attributes of `/slidenet` that a kind of file has besides `COMMON_ATTRIBUTES`."""
    attributes = dict(_KIND_ATTRIBUTES[kind])
    if kind != SLIDE_EMBEDDING_FORMAT:
        attributes |= GEOMETRY_ATTRIBUTES if version == 1 else GEOMETRY_ATTRIBUTES_2
    if kind == FEATURES_FORMAT and version > 1:
        attributes["num_empty"] = int
    return attributes


def version_of(geometry: TileGeometry) -> int:
    """The format version in which tiles of this geometry, and what is made of them, are written."""
    return 1 if geometry.reading == BLENDED_READING else FORMAT_VERSION


def short_rows(version: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """How h5py stores a dataset of few bytes per row: with checksums since version 2."""
    if version == 1 or not shape[0]:
        return {}
    return {"chunks": (min(SHORT_CHUNK_ROWS, shape[0]), *shape[1:]), "fletcher32": True}
