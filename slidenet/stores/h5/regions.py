"""The drawn region of each tile in our h5 files: written, read back, checked."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import CoordinateError, StoreError
from slidenet.core.records import RegionBy, TileRegions
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import read_attribute, write_attributes
from slidenet.stores.h5.plain import holds

Columns = tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]
"""`TileRegions.index` and `TileRegions.share`, as stored."""


def write_regions(h5: Any, regions: TileRegions, *, version: int) -> None:
    """Adds the regions of the tiles to a file that has its group (`schema.REGION_DATASETS`)."""
    for name, data in ((schema.REGION, regions.index), (schema.REGION_SHARE, regions.share)):
        h5.create_dataset(name, data=data, **schema.short_rows(version, data.shape))
    names = json.dumps(list(regions.names), separators=(",", ":"))
    write_attributes(h5[schema.GROUP], {"region_names": names, "region_by": regions.by})


def has_regions(h5: Any) -> bool:
    """Whether a file has any of what belongs to regions."""
    return any(holds(h5, name) for name in schema.REGION_DATASETS) or any(
        name in h5[schema.GROUP].attrs for name in schema.REGION_ATTRIBUTES
    )


def read_region_names(h5: Any, path: Path) -> tuple[tuple[str, ...], RegionBy | None]:
    """The names of the regions and what they are told apart by; `((), None)` where there are none.

    Raises:
        StoreError: The names are no list of texts.
    """
    if not has_regions(h5):
        return (), None
    group = h5[schema.GROUP]
    try:
        names = json.loads(read_attribute(group, "region_names", str, path))
    except (json.JSONDecodeError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise StoreError(
            f"{path}: attribute 'region_names' is no JSON list of texts",
            remedy="delete the file and make it again",
        )
    # One of the words of `RegionBy`, as `TileRegions` checks.
    return tuple(names), cast(RegionBy, read_attribute(group, "region_by", str, path))


def read_regions(h5: Any, path: Path) -> TileRegions | None:
    """The regions of the tiles as `write_regions` wrote them; None where the file has none.

    Raises:
        StoreError: They are not sound.
    """
    names, by = read_region_names(h5, path)
    if by is None:
        return None
    return tile_regions(names, by, (h5[schema.REGION][:], h5[schema.REGION_SHARE][:]), path)


def tile_regions(names: tuple[str, ...], by: RegionBy, columns: Columns, path: Path) -> TileRegions:
    """The record of what a file says.

    Raises:
        StoreError: It is not sound.
    """
    try:
        return TileRegions(names, *columns, by)
    except CoordinateError as error:
        raise StoreError(
            f"{path}: {error.found}", expected=error.expected, remedy="make the file again"
        ) from error
