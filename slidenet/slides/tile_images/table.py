"""A CSV of the folder that says where its tiles lie, or in which region; names of the field."""

import codecs
import csv
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from slidenet.core.errors import UnreadableSlideError
from slidenet.core.escapes import from_spreadsheet
from slidenet.core.records import TileRegions
from slidenet.core.text import name_some
from slidenet.slides.tile_images.declaration import GRID, TILE_FRAMES, TileDeclaration

FILE_COLUMNS = ("tile", "image", "file", "filename", "file_name", "path", "tile_path", "image_path",
                "tile_name", "image_name", "patch", "patch_name", "name", "tile_id")  # fmt: skip
"""What the column of the files is called, the one taken first where there are several."""

PLACE_COLUMNS: tuple[tuple[str, str, str | None], ...] = (
    ("x", "y", None),
    ("tile_x", "tile_y", None),  # GigaPath's dataset.csv
    ("coord_x", "coord_y", None),
    ("x_coord", "y_coord", None),
    ("start_w", "start_h", None),  # TIAToolbox
    ("x_min", "y_min", None),
    ("xmin", "ymin", None),
    ("left", "top", None),
    ("col", "row", GRID),
    ("column", "row", GRID),
)
"""Columns of the two numbers, and what they count where their name says it."""

REGION_COLUMN, SHARE_COLUMN = "region", "region_share"
"""As `slidenet export-tiles` writes them."""

MOST_REGIONS = 2**16
"""As many as the file of tiles can tell apart."""
MAX_NAME = 200
MAX_BYTES = 2_000_000_000
_MAX_PLACE = 1 << 31


@dataclass(frozen=True, slots=True)
class PlaceTable:
    """What a CSV says about the tiles of its folder.

    Attributes:
        path: The CSV.
        names: Images of the folder, in the order of the rows.
        places: (x, y) of each; None where it does not say them.
        regions: Name of the region each lies in, and which share of it; None where it does not
            say them.
        num_missing: Rows whose image is not there.
        declared: What it says of resolution and frame.
        slide_mpp: What it says of level 0.
    """

    path: Path
    names: tuple[str, ...]
    places: tuple[tuple[float, float], ...] | None
    regions: tuple[tuple[str, float], ...] | None
    num_missing: int
    declared: TileDeclaration
    slide_mpp: float | None

    def regions_of(self, names: Sequence[str]) -> TileRegions | None:
        """In which region each of some tiles lies; None where the table does not say it.

        Raises:
            UnreadableSlideError: It says it of some tiles only.
        """
        if self.regions is None:
            return None
        known = dict(zip(self.names, self.regions, strict=True))
        without = [name for name in names if not known.get(name, ("", 1.0))[0]]
        if without:
            raise _damaged(
                self.path,
                f"says no region of {len(without)} of {len(names)} tiles (first {without[0]})",
            )
        regions = tuple(sorted({known[name][0] for name in names}))
        if len(regions) > MOST_REGIONS:
            raise _damaged(self.path, f"names {len(regions):,} regions, more than {MOST_REGIONS:,}")
        place = {region: number for number, region in enumerate(regions)}
        return TileRegions(
            regions,
            np.array([place[known[name][0]] for name in names], dtype=np.uint16),
            np.array([known[name][1] for name in names], dtype=np.float32),
            "class",
        )


def find_place_table(
    folder: Path, tables: Sequence[str], images: Sequence[str]
) -> PlaceTable | None:
    """Reads the one CSV that has a column of files, and two of places or one of regions, if any.

    Args:
        folder: Of the images.
        tables: CSV files in it; one of the folder's name beside it is looked at, too.
        images: Names of the images.

    Raises:
        UnreadableSlideError: Several have them, or the one is damaged; the row is named.
    """
    found = []
    beside = folder.parent / f"{folder.name}.csv"
    for path in [*(folder / name for name in tables), *([beside] if beside.is_file() else [])]:
        columns = _columns(path)
        if columns is not None:
            found.append((path, columns))
    if len(found) > 1:
        raise UnreadableSlideError(
            f"{len(found)} CSV files say where or in which region its tiles lie "
            f"({name_some(path.name for path, _ in found)})",
            expected="one",
            remedy="move the others out of the folder",
            slide=folder.name,
        )
    return _read(*found[0], images) if found else None


@dataclass(frozen=True, slots=True)
class _Columns:
    file: str
    place: tuple[str, str] | None
    region: str | None
    share: str | None
    frame: str | None
    delimiter: str


def _columns(path: Path) -> _Columns | None:
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = file.readline(1 << 16)
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise _damaged(path, "is UTF-16 text; save it as CSV UTF-8")
    for delimiter in ",;\t":
        names = next(csv.reader([header], delimiter=delimiter), [])
        known = {name.strip().lower(): name for name in names}
        files = [known[name] for name in FILE_COLUMNS if name in known]
        found = [(x, y, frame) for x, y, frame in PLACE_COLUMNS if x in known and y in known]
        region, share = known.get(REGION_COLUMN), known.get(SHARE_COLUMN)
        if files and (found or region):
            x, y, frame = found[0] if found else ("", "", None)
            place = (known[x], known[y]) if found else None
            return _Columns(files[0], place, region, share, frame, delimiter)
    return None


def _read(path: Path, columns: _Columns, images: Sequence[str]) -> PlaceTable:
    there = set(images)
    places: dict[str, tuple[float, ...]] = {}
    regions: list[tuple[str, float]] = []
    said: dict[str, set[str]] = {name: set() for name in ("tile_mpp", "slide_mpp", "frame")}
    missing = 0
    if path.stat().st_size > MAX_BYTES:
        raise _damaged(path, f"has {path.stat().st_size:,} bytes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for cells in csv.DictReader(file, delimiter=columns.delimiter):
                row = {c: from_spreadsheet(v) for c, v in cells.items() if isinstance(v, str)}
                name = _name_there(str(row.get(columns.file) or ""), there)
                if name is None:
                    missing += 1
                    continue
                line = f"row of {name}"
                if name in places:
                    raise _damaged(path, f"names the tile {name} twice")
                place = columns.place or ()
                places[name] = tuple(_number(row.get(c), c, line, path) for c in place)
                regions.append(_region(row, columns, line, path))
                for what, values in said.items():
                    if (row.get(what) or "").strip():
                        values.add(str(row[what]).strip())
    except (csv.Error, UnicodeDecodeError) as error:
        raise _damaged(path, f"is no CSV in UTF-8 ({error})") from error
    if not places:
        raise UnreadableSlideError(
            f"none of the {missing} tiles named in {path.name} lies in the folder",
            expected=f"names of its images in the column {columns.file!r}",
            remedy="put the CSV into the folder of its images",
            slide=path.parent.name,
        )
    frame = _only(said["frame"], "frame", path)
    if frame is not None and frame not in TILE_FRAMES:
        raise _damaged(path, f"says frame {frame!r}, none of {', '.join(TILE_FRAMES)}")
    tile_mpp, slide_mpp = (
        _mpp(_only(said[n], n, path), n, path) for n in ("tile_mpp", "slide_mpp")
    )
    return PlaceTable(
        path,
        names=tuple(places),
        places=None if columns.place is None else tuple((x, y) for x, y in places.values()),
        regions=None if columns.region is None else tuple(regions),
        num_missing=missing,
        declared=TileDeclaration(tile_mpp, frame or columns.frame),
        slide_mpp=slide_mpp,
    )


def _region(
    row: Mapping[str, str | None], columns: _Columns, line: str, path: Path
) -> tuple[str, float]:
    """Name of the region of a tile ("": none), and the share of the tile that lies in it."""
    name = "" if columns.region is None else (row.get(columns.region) or "").strip()
    text = None if columns.share is None else (row.get(columns.share) or "").strip()
    if len(name) > MAX_NAME or not name.isprintable():  # it reaches terminals, files and folders
        found = f"has {reprlib.repr(name)} in column {columns.region!r}, {line}"
        raise _damaged(path, f"{found}; a name is a line of at most {MAX_NAME} characters")
    if not name or not text:
        return name, 1.0
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise _damaged(path, f"has {text!r} in column {columns.share!r}, {line}; a share is above 0"
                             " and at most 1")  # fmt: skip
    return name, share


def _name_there(text: str, there: set[str]) -> str | None:
    """The image of the folder that a cell means; its own folders, Windows' too, do not count."""
    path = PurePosixPath(text.strip().replace("\\", "/"))
    if path.name in there:
        return path.name
    with_ending = [path.name + suffix for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff")]
    return next((name for name in with_ending if name in there), None)


def _number(text: str | None, column: str, line: str, path: Path) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.nan
    if not (0 <= value < _MAX_PLACE and value == int(value)):
        raise _damaged(path, f"has {text!r} in column {column!r}, {line}; a place is a whole number"
                             " of at least 0")  # fmt: skip
    return value


def _mpp(text: str | None, column: str, path: Path) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise _damaged(path, f"has {text!r} in column {column!r}; it is a number above 0")
    return value


def _only(values: set[str], column: str, path: Path) -> str | None:
    if len(values) > 1:
        raise _damaged(path, f"has different values in column {column!r} "
                             f"({name_some(sorted(values), most=2)})")  # fmt: skip
    return next(iter(values), None)


def _damaged(path: Path, what: str) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"{path.name} {what}",
        expected="one row per tile: its file, and where it lies",
        remedy="correct it, or move it out of the folder",
        slide=path.parent.name,
    )
