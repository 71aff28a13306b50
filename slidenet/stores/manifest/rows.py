"""Rows about slides, in the manifest and in a table of labels alike.

Both name slides the same way: `slide_id`, or else the name of the slide file without its suffix.
"""

import math
import re
from collections.abc import Mapping
from pathlib import PurePath

from slidenet.core.records import SlideRow
from slidenet.core.units import Mpp
from slidenet.core.vocabulary import as_number
from slidenet.slides.tile_images.declaration import TILE_FRAMES
from slidenet.stores.csv_table import CsvRow, CsvTable, ErrorKind
from slidenet.stores.manifest.patients import patient_of_cells
from slidenet.stores.manifest.slide_ids import check_slide_ids, id_of_place
from slidenet.stores.objects import is_uri, join_uri

MIN_MPP, MAX_MPP = 0.01, 100.0

SLIDE_COLUMNS = ("slide_id", "slide_path", "mpp", "mpp_x", "mpp_y", "sha256", "patient_id",
                 "tile_mpp", "tile_frame")  # fmt: skip
"""Columns with a meaning; every other column is a label."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def slide_rows(
    table: CsvTable,
    patient_column: str | None,
    *,
    repeats: bool = False,
    folder: str | None = None,
) -> list[SlideRow]:
    """The rows of a table as rows about slides, each slide once.

    Args:
        table: Has at least one of the columns `slide_id` and `slide_path`.
        patient_column: Says whose slide it is (`find_patient_column`); None where nothing does.
        repeats: Whether a slide may have several rows.
        folder: Address of the folder the table lies in, where it came out of a store of objects.

    Returns:
        One row per row of the table. `slide_path` is relative to the table's folder, an address of
        an object as it is, or "" where the table has no such column.

    Raises:
        SlidenetError: Of the class of the table, naming the file, row and column at fault.
    """
    rows = [_slide_row(table, row, patient_column, folder) for row in table.rows]
    column = "slide_id" if "slide_id" in table.columns else "slide_path"
    places = [table.place(row, column) for row in table.rows]
    check_slide_ids(rows, places, error=table.error, repeats=repeats)
    return rows


def _slide_row(
    table: CsvTable, row: CsvRow, patient_column: str | None, folder: str | None
) -> SlideRow:
    cells, error = row.cells, table.error
    slide_path = cells.get("slide_path", "").strip()
    if ("slide_id" not in cells and not slide_path) or "\x00" in slide_path:
        raise path_error(slide_path, table.place(row), error)
    if folder is not None and slide_path and not PurePath(slide_path).is_absolute():
        slide_path = join_uri(folder, slide_path)
    elif slide_path and not is_uri(slide_path):
        slide_path = str(table.path.parent / slide_path)
    slide_id = cells["slide_id"].strip() if "slide_id" in cells else id_of_place(slide_path)
    mpp, mpp_xy = _resolution(cells, table.place(row), error)
    return SlideRow(
        slide_id=slide_id,
        slide_path=slide_path,
        mpp=mpp,
        patient_id=patient_of_cells(cells, slide_id, patient_column),
        labels={name: value for name, value in cells.items() if name not in SLIDE_COLUMNS},
        mpp_xy=mpp_xy,
        tile_mpp=_mpp(cells, "tile_mpp", table.place(row), error),
        tile_frame=_tile_frame(cells.get("tile_frame", "").strip(), table.place(row), error),
        sha256=_sha256(cells.get("sha256", "").strip(), table.place(row), error),
    )


def path_error(slide_path: str, place: str, error: ErrorKind) -> Exception:
    """The error for a row that does not say where its slide lies."""
    return error(
        f"{place}, column 'slide_path' is {slide_path!r}", expected="the path of the slide"
    )


def _resolution(
    cells: Mapping[str, str], place: str, error: ErrorKind
) -> tuple[Mpp | None, tuple[float, float] | None]:
    """`mpp`, and `mpp_x` with `mpp_y`, of which a row has one or the other."""
    found = {name: _mpp(cells, name, place, error) for name in ("mpp", "mpp_x", "mpp_y")}
    x, y = found["mpp_x"], found["mpp_y"]
    given = [name for name, value in found.items() if value is not None]
    if given not in ([], ["mpp"], ["mpp_x", "mpp_y"]):
        raise error(
            f"{place} has values in {' and '.join(given)}",
            expected="mpp alone, or mpp_x and mpp_y together",
            remedy="leave the others empty",
        )
    if x is None or y is None:
        return found["mpp"], None
    return Mpp(x if x == y else math.sqrt(x * y)), (x, y)


def _mpp(cells: Mapping[str, str], name: str, place: str, error: ErrorKind) -> Mpp | None:
    text = cells.get(name, "").strip()
    value = as_number(text)
    if text and not MIN_MPP <= value <= MAX_MPP:
        raise error(
            f"{place}, column {name!r} is {text!r}",
            expected=f"microns per pixel, {MIN_MPP} to {MAX_MPP:g} (such as 0.25), or nothing",
            remedy="write it with a decimal point, in microns",
        )
    return Mpp(value) if text else None


def _tile_frame(text: str, place: str, error: ErrorKind) -> str | None:
    if text and text not in TILE_FRAMES:
        raise error(
            f"{place}, column 'tile_frame' is {text!r}",
            expected=f"{', '.join(TILE_FRAMES)}, or nothing",
            remedy="write what the places in the names of the tiles count",
        )
    return text or None


def _sha256(text: str, place: str, error: ErrorKind) -> str | None:
    if text and not _SHA256.fullmatch(text):
        raise error(
            f"{place}, column 'sha256' is {text!r}",
            expected="64 hex digits, or nothing",
            remedy="write what `sha256sum` prints for the slide file",
        )
    return text.lower() or None
