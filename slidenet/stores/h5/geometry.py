"""How the tiles of a file lie: as attributes, read back, and what no slide can have."""

from pathlib import Path
from typing import Any

from slidenet.core.errors import StoreError
from slidenet.core.records import READINGS, SHRINKINGS, SlideMpp, TileGeometry
from slidenet.core.units import Mpp, magnification
from slidenet.slides.tile_images.declaration import TILE_FRAMES
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import AttributeValue, read_attribute

MOST_LEVELS = 62
"""No side of a slide can be halved more often."""

MOST_TILE_PX = 32768


def geometry_attributes(
    geometry: TileGeometry, *, version: int | None = None
) -> dict[str, AttributeValue]:
    """`geometry` as attributes, by the format version it is written in.

    Args:
        geometry: How the tiles lie.
        version: Of the file; None: that in which tiles of this geometry are written.
    """
    first = (schema.version_of(geometry) if version is None else version) == 1
    kinds = schema.GEOMETRY_ATTRIBUTES if first else schema.GEOMETRY_ATTRIBUTES_2
    attributes: dict[str, AttributeValue] = {
        "slide_mpp": float(geometry.slide_mpp.value),
        "slide_mpp_source": geometry.slide_mpp.source,
    }
    for name, kind in kinds.items():
        if name not in attributes:
            attributes[name] = kind(getattr(geometry, name))
    for name, kind in schema.CUT_ATTRIBUTES.items():
        value = getattr(geometry, name)
        if value is not None:
            attributes[name] = kind(value)
    return attributes


def coords_attributes(geometry: TileGeometry, *, slide_id: str) -> dict[str, AttributeValue]:
    """The attributes TRIDENT's loaders expect on `/coords` (`schema.COORDS_ATTRIBUTES`)."""
    return {
        "patch_size": int(geometry.tile_size_px),
        "patch_size_level0": int(geometry.tile_size_level0),
        "level0_magnification": magnification(geometry.slide_mpp.value),
        "target_magnification": magnification(geometry.target_mpp),
        "overlap": int(geometry.tile_size_px - geometry.stride_px),
        "name": slide_id,
        "savetodir": ".",
        "level0_width": int(geometry.level0_width),
        "level0_height": int(geometry.level0_height),
    }


def read_geometry(group: Any, path: Path) -> TileGeometry:
    """The geometry written by `geometry_attributes`, exact.

    Raises:
        StoreError: An attribute is missing, or says what no slide can have.
    """
    geometry = stored_geometry(group, path)
    for problem in geometry_problems(geometry):
        raise StoreError(f"{path}: {problem}", remedy="delete the file and make it again")
    return geometry


def stored_geometry(group: Any, path: Path) -> TileGeometry:
    """What `read_geometry` gives, whatever it says."""
    first = read_attribute(group, "format_version", int, path) == 1
    kinds = schema.GEOMETRY_ATTRIBUTES if first else schema.GEOMETRY_ATTRIBUTES_2
    found: dict[str, AttributeValue] = {
        name: read_attribute(group, name, kind, path) for name, kind in kinds.items()
    }
    for name, kind in schema.CUT_ATTRIBUTES.items():
        if name in group.attrs:
            found[name] = read_attribute(group, name, kind, path)
    value, source = found.pop("slide_mpp"), found.pop("slide_mpp_source")
    slide_mpp = SlideMpp(Mpp(float(value)), str(source))
    return TileGeometry(slide_mpp=slide_mpp, **found)  # type: ignore[arg-type]  # typed by schema


def geometry_problems(geometry: TileGeometry) -> list[str]:
    """What of a geometry no slide can have, a sentence each."""
    values: dict[str, float] = {
        name: getattr(geometry, name)
        for name, kind in schema.GEOMETRY_ATTRIBUTES.items()
        if kind is not str and name not in ("slide_mpp", "level")
    }
    problems = [
        f"attribute {name!r} is {value}; expected a positive number"
        for name, value in {"slide_mpp": geometry.slide_mpp.value, **values}.items()
        if value <= 0
    ]
    if problems:
        return problems
    if not 0 <= geometry.level <= MOST_LEVELS:
        problems.append(
            f"attribute 'level' is {geometry.level}; expected 0 or more, up to {MOST_LEVELS}"
        )
    elif geometry.level and geometry.read_mpp <= geometry.slide_mpp.value:
        problems.append(
            f"attribute 'level' is {geometry.level}, but 'read_mpp' {geometry.read_mpp:g} is that "
            "of level 0"
        )
    if geometry.tile_size_px > MOST_TILE_PX:
        problems.append(
            f"attribute 'tile_size_px' is {geometry.tile_size_px}; expected {MOST_TILE_PX} at most"
        )
    side = geometry.read_size_px * geometry.read_mpp / geometry.slide_mpp.value
    most = MOST_TILE_PX + 4 * max(geometry.level0_width, geometry.level0_height)
    if side > most:
        problems.append(
            f"attribute 'read_size_px' is {geometry.read_size_px}, {side:.0f} level-0 px of a "
            f"slide of {geometry.level0_width} x {geometry.level0_height}"
        )
    frames = (None, *TILE_FRAMES)
    for name, known in (
        ("reading", READINGS),
        ("shrinking", SHRINKINGS),
        ("tile_frame", frames),
    ):
        value = getattr(geometry, name)
        if value not in known:
            expected = " or ".join(map(str, known))
            problems.append(f"attribute {name!r} is {value!r}; expected {expected}")
    return problems
