"""The manifest of a cohort: `slides.csv`, or simply a folder of slides.

`slides.csv` is UTF-8 (with or without a byte-order mark), separated by commas, with a header:

- `slide_path` (required): where the slide lies; a relative path is relative to the manifest file;
- `slide_id`: unique, names the output files; where the column is missing it is the name of the
  slide file without its suffix;
- `mpp`: microns per pixel of level 0, for slides whose file does not say it; may be empty;
- `patient_id`: groups slides of one patient; may be empty;
- every other column is a label, kept as written.

Whether the slides exist is not asked here: one missing slide must not stop a cohort.
"""

import csv
import math
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from slidenet.core.errors import ManifestError
from slidenet.core.records import SlideRow
from slidenet.core.suffixes import SLIDE_SUFFIXES
from slidenet.core.units import Mpp

MAX_SLIDE_ID_BYTES = 200
MIN_MPP, MAX_MPP = 0.01, 100.0

_KNOWN = ("slide_id", "slide_path", "mpp", "patient_id")
_UNSAFE = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]')


def read_manifest(
    path_or_folder: str | os.PathLike[str], *, suffixes: Collection[str] = SLIDE_SUFFIXES
) -> list[SlideRow]:
    """Reads the slides of a cohort.

    Args:
        path_or_folder: A `slides.csv`, or a folder whose slide files (not those of its
            subfolders) make the cohort, in order of name, with the file stem as `slide_id`; or one
            slide file, a cohort of one.
        suffixes: File name endings that make a file of the folder a slide; case does not matter.

    Returns:
        One row per slide, in order.

    Raises:
        ManifestError: Naming the file, the row (line of the file) and the column at fault.
    """
    path = Path(path_or_folder)
    if path.is_dir():
        return _read_folder(path, suffixes)
    if path.name.lower().endswith(tuple(suffix.lower() for suffix in suffixes)):
        return [SlideRow(slide_id=path.stem, slide_path=str(path))]
    if not path.exists():
        raise ManifestError(f"{path} does not exist", expected="a slides.csv or a folder of slides")
    return _read_csv(path)


def _read_folder(folder: Path, suffixes: Collection[str]) -> list[SlideRow]:
    endings = tuple(suffix.lower() for suffix in suffixes)
    paths = sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and not p.name.startswith(".") and p.name.lower().endswith(endings)
    )
    if not paths:
        raise ManifestError(
            f"{folder} holds no slides",
            expected=f"files ending in {', '.join(endings)}",
            remedy="list slides of subfolders in a slides.csv with a column slide_path",
        )
    paths = _without_parts(paths, folder)
    rows = [SlideRow(slide_id=p.stem, slide_path=str(p)) for p in paths]
    places = [f"{folder}, file {p.name}" for p in paths]
    for row, place in zip(rows, places, strict=True):
        _check_slide_id(row.slide_id, place)
    _refuse_duplicates(rows, places)
    return rows


def _without_parts(paths: list[Path], folder: Path) -> list[Path]:
    """Leaves out the files that are parts of another slide of the folder."""
    endings = [p.suffix.lower() for p in paths]
    if endings.count(".dcm") > 1:
        raise ManifestError(
            f"{folder} holds {endings.count('.dcm')} .dcm files, and which of them make one slide "
            "cannot be told from their names",
            expected="one .dcm file at most in a folder given as a cohort",
            remedy="write a slides.csv naming one .dcm file of each slide",
        )
    if {".vms", ".vmu"} & set(endings):  # Hamamatsu's index files point to JPEGs beside them
        return [p for p in paths if p.suffix.lower() not in (".jpg", ".jpeg")]
    return paths


def _read_csv(path: Path) -> list[SlideRow]:
    lines = _cells(path)
    if not lines:
        raise ManifestError(f"{path} is empty", expected="a header with a column slide_path")
    header = [name.strip() for name in lines[0][1]]
    _check_header(header, path, row=lines[0][0])
    rows, places = [], []
    for number, cells in lines[1:]:
        place = f"{path}, row {number}"
        if len(cells) != len(header):
            raise ManifestError(
                f"{place} has {len(cells)} cells",
                expected=f"{len(header)}, one per column",
                remedy="put cells that hold commas in double quotes",
            )
        rows.append(_slide_row(dict(zip(header, cells, strict=True)), path.parent, place))
        places.append(f"{place}, column 'slide_id'")
    if not rows:
        raise ManifestError(f"{path} has a header and no rows", expected="one row per slide")
    _refuse_duplicates(rows, places)
    return rows


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that hold anything, each with the line of the file it ends on."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, c) for c in reader if any(cell.strip() for cell in c)]
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start})",
            remedy="save it as 'CSV UTF-8'",
        ) from error
    except csv.Error as error:
        raise ManifestError(
            f"{path}, row {reader.line_num} is no CSV ({error})", remedy="check its quotes"
        ) from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error


def _check_header(header: list[str], path: Path, *, row: int) -> None:
    place = f"{path}, row {row}"
    if "slide_path" not in header:
        remedy = "add the column slide_path"
        for sign, name in ((";", "semicolons"), ("\t", "tabs")):
            if any(sign in cell for cell in header):
                remedy = f"separate the columns with commas; these look separated by {name}"
        raise ManifestError(
            f"{place} has the columns {', '.join(map(repr, header))}",
            expected="a column slide_path",
            remedy=remedy,
        )
    for name in header:
        if name not in _KNOWN and name.lower() in _KNOWN:  # would be taken for a label
            raise ManifestError(
                f"{place} has a column {name!r}", expected=f"{name.lower()!r}, in small letters"
            )
    if "" in header:
        raise ManifestError(f"{place}, column {header.index('') + 1} has no name", remedy="name it")
    for name in header:
        if header.count(name) > 1:
            raise ManifestError(f"{place} has {header.count(name)} columns named {name!r}")


def _slide_row(cells: dict[str, str], folder: Path, place: str) -> SlideRow:
    slide_path = cells["slide_path"].strip()
    if not slide_path or "\x00" in slide_path:
        raise ManifestError(
            f"{place}, column 'slide_path' is {slide_path!r}", expected="the path of the slide"
        )
    slide_id, where = Path(slide_path).stem, "slide_path"
    if "slide_id" in cells:
        slide_id, where = cells["slide_id"].strip(), "slide_id"
    _check_slide_id(slide_id, f"{place}, column {where!r}")
    return SlideRow(
        slide_id=slide_id,
        slide_path=str(folder / slide_path),
        mpp=_mpp(cells.get("mpp", "").strip(), place),
        patient_id=cells.get("patient_id", "").strip() or None,
        labels={name: value for name, value in cells.items() if name not in _KNOWN},
    )


def _mpp(text: str, place: str) -> Mpp | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not MIN_MPP <= value <= MAX_MPP:
        raise ManifestError(
            f"{place}, column 'mpp' is {text!r}",
            expected=f"microns per pixel, {MIN_MPP} to {MAX_MPP:g} (such as 0.25), or nothing",
            remedy="write it with a decimal point, in microns",
        )
    return Mpp(value)


def _check_slide_id(slide_id: str, place: str) -> None:
    """A slide_id becomes a file name on whatever disk the outputs end up on."""
    unsafe = _UNSAFE.search(slide_id)
    if not slide_id:
        wrong = "is empty"
    elif unsafe:
        wrong = f"{slide_id!r} holds {unsafe.group()!r}"
    elif slide_id.startswith(".") or slide_id != slide_id.strip() or slide_id.endswith("."):
        wrong = f"{slide_id!r} begins or ends with a dot or a space"
    elif len(slide_id.encode()) > MAX_SLIDE_ID_BYTES:
        wrong = f"{slide_id[:20] + '...'!r} has {len(slide_id.encode())} bytes"
    else:
        return
    raise ManifestError(
        f"{place}: slide_id {wrong}",
        expected=f"a name that can be a file name, at most {MAX_SLIDE_ID_BYTES} bytes",
        remedy="give the slide a plain slide_id in slides.csv",
    )


def _refuse_duplicates(rows: Iterable[SlideRow], places: Iterable[str]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for row, place in zip(rows, places, strict=True):
        # Some disks cannot tell names apart by case or by how an accent is written.
        key = unicodedata.normalize("NFC", row.slide_id).casefold()
        if key in seen:
            first_id, first_place = seen[key]
            raise ManifestError(
                f"{place}: slide_id {row.slide_id!r} is already taken by {first_id!r} "
                f"({first_place})",
                expected="a slide_id of its own for every slide, whatever the case of its letters",
                remedy="name each slide in the column slide_id of slides.csv",
            )
        seen[key] = (row.slide_id, place)
