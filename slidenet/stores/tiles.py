"""The tiles of a slide on disk: `TileSet` to file and back, exactly."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from slidenet.core.errors import CoordinateError, StoreError
from slidenet.core.records import BLENDED_READING, TileSet
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import (
    attribute_number,
    identity_attributes,
    read_attribute,
    read_identity,
    write_attributes,
)
from slidenet.stores.h5.digests import (
    Digests,
    digest_of_array,
    refuse_changed,
    write_digests,
)
from slidenet.stores.h5.file import create_h5, open_group, open_h5
from slidenet.stores.h5.geometry import (
    coords_attributes,
    geometry_attributes,
    read_geometry,
)
from slidenet.stores.h5.regions import read_regions, write_regions
from slidenet.stores.h5.validate import check_format


def write_tile_set(path: str | os.PathLike[str], tile_set: TileSet) -> Path:
    """Writes the tiles of one slide (format `slidenet.tiles`), atomically.

    Args:
        path: The file; one that is there is replaced.
        tile_set: The tiles.

    Returns:
        The path written.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    with create_h5(path, slide=tile_set.slide_id) as new:
        write_tile_datasets(new.h5, tile_set)
        group = new.h5[schema.GROUP]
        identity = identity_attributes(
            schema.TILES_FORMAT,
            version=schema.version_of(tile_set.geometry),
            slide_id=tile_set.slide_id,
            fingerprint=tile_set.fingerprint,
            identity=tile_set.identity,
        )
        write_attributes(group, identity | {"slide_path": tile_set.slide_path})
        if tile_set.tissue_doubt is not None:
            write_attributes(group, {schema.TISSUE_DOUBT: float(tile_set.tissue_doubt)})
        if tile_set.read_again:
            write_attributes(group, {schema.READ_AGAIN: 1})
        if tile_set.object_version:
            known = (tile_set.object_version, tile_set.asked_digest)
            names = (schema.OBJECT_VERSION, schema.ASKED_DIGEST)
            write_attributes(group, dict(zip(names, known, strict=True)))
        if schema.version_of(tile_set.geometry) > 1:
            write_digests(new.h5, tile_digests(tile_set))
    return path


def tile_digests(tile_set: TileSet) -> Digests:
    """The digest of each dataset that `write_tile_datasets` writes."""
    numbers = {
        name: attribute_number(value)
        for name, value in coords_attributes(tile_set.geometry, slide_id="").items()
        if not isinstance(value, str)
    }
    digests = {
        schema.COORDS: digest_of_array(tile_set.coords, numbers),
        schema.TISSUE_FRACTION: digest_of_array(tile_set.tissue_fraction),
    }
    if tile_set.regions is not None:
        digests[schema.REGION] = digest_of_array(tile_set.regions.index)
        digests[schema.REGION_SHARE] = digest_of_array(tile_set.regions.share)
    return digests


def write_tile_datasets(h5: Any, tile_set: TileSet) -> None:
    """Writes coords, tissue fraction, regions and geometry into an empty h5 file."""
    group = h5.create_group(schema.GROUP)
    version = schema.version_of(tile_set.geometry)
    data = tile_set.coords
    coords = h5.create_dataset(schema.COORDS, data=data, **schema.short_rows(version, data.shape))
    shown_to_loaders = coords_attributes(tile_set.geometry, slide_id=tile_set.slide_id)
    write_attributes(coords, shown_to_loaders, loaders_text=True)
    fraction = tile_set.tissue_fraction
    stored = schema.short_rows(version, fraction.shape)
    h5.create_dataset(schema.TISSUE_FRACTION, data=fraction, **stored)
    if tile_set.regions is not None:
        write_regions(h5, tile_set.regions, version=version)
    write_attributes(group, geometry_attributes(tile_set.geometry))
    write_attributes(group, {"num_tiles": tile_set.num_tiles})


class TilesOrigin(NamedTuple):
    """What a cohort must have in common, of the tiles of one slide.

    Attributes:
        reading: How their pixels are read.
        segmenter: What found their tissue: a name, or of another package's the import path;
            "geojson" where it was drawn by hand; None where the file does not say.
        num_tiles: How many there are.
    """

    reading: int
    segmenter: str | None
    num_tiles: int


def tiles_origin(path: str | os.PathLike[str]) -> TilesOrigin:
    """What a file says of its tiles in a few attributes: quick for whole cohorts.

    Raises:
        StoreError: The file is missing or broken, or does not say it.
    """
    path = Path(path)
    with open_group(path, schema.GROUP) as group:
        try:
            reading = read_attribute(group, "reading", int, path)
        except StoreError:
            if read_attribute(group, "format_version", int, path) != 1:
                raise
            reading = BLENDED_READING  # the only one there was
        tissue = read_identity(group, path).get("tissue")
        num_tiles = read_attribute(group, "num_tiles", int, path)
    if not isinstance(tissue, Mapping):
        return TilesOrigin(reading, None, num_tiles)
    plugin, name = tissue.get("plugin"), tissue.get("segmenter")
    found = plugin.get("code") if isinstance(plugin, Mapping) else name
    return TilesOrigin(reading, found if isinstance(found, str) else None, num_tiles)


def read_tile_set(path: str | os.PathLike[str]) -> TileSet:
    """Reads what `write_tile_set` wrote.

    Raises:
        StoreError: The file is missing, broken or not a `slidenet.tiles` file.
    """
    path = Path(path)
    with open_h5(path) as h5:
        check_format(h5, path, expected=schema.TILES_FORMAT)
        group = h5[schema.GROUP]
        try:
            tile_set = TileSet(
                slide_id=read_attribute(group, "slide_id", str, path),
                slide_path=read_attribute(group, "slide_path", str, path),
                fingerprint=read_attribute(group, "slide_fingerprint", str, path),
                geometry=read_geometry(group, path),
                coords=h5[schema.COORDS][:],
                tissue_fraction=h5[schema.TISSUE_FRACTION][:],
                identity=read_identity(group, path),
                regions=read_regions(h5, path),
                tissue_doubt=read_attribute(group, schema.TISSUE_DOUBT, float, path)
                if schema.TISSUE_DOUBT in group.attrs
                else None,
                read_again=schema.READ_AGAIN in group.attrs,
                **{
                    name: read_attribute(group, name, str, path)
                    for name in (schema.OBJECT_VERSION, schema.ASKED_DIGEST)
                    if name in group.attrs
                },
            )
        except CoordinateError as error:
            raise StoreError(f"{path}: {error.found}", remedy="make the file again") from error
        refuse_changed(h5, path)
        return tile_set
