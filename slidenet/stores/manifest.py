"""The manifest of a cohort: `slides.csv`, or simply a folder of slides.

`slides.csv` is UTF-8 (with or without a byte-order mark), separated by commas, with a header:

- `slide_path` (required): where the slide lies; a relative path is relative to the manifest file;
- `slide_id`: unique, names the output files; where the column is missing it is the name of the
  slide file without its suffix;
- `mpp`: microns per pixel of level 0, for slides whose file does not say it; may be empty;
- `mpp_x` and `mpp_y` instead, for slides whose file is wrong in saying that its pixels are not
  square; may be empty;
- `sha256`: of the slide file, compared before it is read; may be empty;
- `tile_mpp` and `tile_frame`: of a slide that is a folder of tile images, the microns per pixel of
  the images and what the places in their names count (`docs/tiles.md`); may be empty;
- `patient_id`, or a column that says so by another name (`case_id`, `PATIENT`): groups slides of
  one patient; may be empty;
- every other column is a label, kept as written.

Whether the slides exist is not asked here: one missing slide must not stop a cohort.
"""

import logging
import os
from collections.abc import Collection
from pathlib import Path

from slidenet.core.errors import ManifestError
from slidenet.core.records import SlideRow
from slidenet.core.text import name_some
from slidenet.slides import SCANNER_FORMATS, SLIDE_SUFFIXES
from slidenet.slides.tile_images.listing import DEEPZOOM_SUFFIX, is_tile_folder
from slidenet.stores.csv_table import read_csv_table
from slidenet.stores.patients import find_patient_column
from slidenet.stores.slide_rows import (
    SLIDE_COLUMNS,
    check_slide_id,
    id_of_path,
    path_error,
    refuse_duplicates,
    slide_rows,
)

_MOST_NAMED = 10
_log = logging.getLogger(__name__)


def read_manifest(
    path_or_folder: str | os.PathLike[str],
    *,
    suffixes: Collection[str] = SLIDE_SUFFIXES,
    patient_column: str | None = None,
) -> list[SlideRow]:
    """Reads the slides of a cohort.

    Args:
        path_or_folder: A `slides.csv`, or a folder whose slide files (not those of its
            subfolders) make the cohort, in order of name, with the file stem as `slide_id`; a
            folder without slide files whose subfolders hold tile images, each of them a slide; or
            one slide file, a cohort of one. Slides of the folder in formats that nobody here reads
            are left out and named in the log.
        suffixes: File name endings that make a file of the folder a slide; case does not matter.
        patient_column: Says whose slide it is; found by its name where not given.

    Returns:
        One row per slide, in order.

    Raises:
        ManifestError: Naming the file, the row (line of the file) and the column at fault.
    """
    path = Path(path_or_folder)
    if path.is_dir():
        return _read_folder(path, suffixes)
    endings = (*(suffix.lower() for suffix in suffixes), *SCANNER_FORMATS)
    if path.name.lower().endswith(endings):  # one that nobody reads is refused when it is opened
        return [SlideRow(slide_id=path.stem, slide_path=str(path))]
    if not path.exists():
        raise ManifestError(f"{path} does not exist", expected="a slides.csv or a folder of slides")
    table = read_csv_table(path, error=ManifestError, one_of=("slide_path",), known=SLIDE_COLUMNS)
    rows = slide_rows(table, find_patient_column(table, patient_column, refuse=False))
    for row, line in zip(rows, table.rows, strict=True):
        if not row.slide_path:
            raise path_error("", table.place(line), ManifestError)
    return rows


def _read_folder(folder: Path, suffixes: Collection[str]) -> list[SlideRow]:
    endings = tuple(suffix.lower() for suffix in suffixes)
    paths = sorted(
        p
        for p in folder.iterdir()
        # A link to a slide that is away is a slide that fails, not one that was never there.
        if (p.is_file() or (p.is_symlink() and not p.exists()))
        and not p.name.startswith(".")
        and p.name.lower().endswith(endings)
    )
    paths = paths or _tile_folders(folder)
    foreign = _foreign_slides(folder, endings)
    if not paths:
        raise ManifestError(
            f"{folder} holds no slides" + (f" that can be read, but {foreign}" if foreign else ""),
            expected=f"files ending in {', '.join(endings)}",
            remedy="convert them into pyramidal OME-TIFFs"
            if foreign
            else "list slides of subfolders in a slides.csv with a column slide_path; of tile "
            "images, give the folder that holds a folder per slide",
        )
    if foreign:
        _log.warning("%s: left out, for no reader here knows their format: %s", folder, foreign)
    paths = _without_parts(paths, folder)
    rows = [SlideRow(slide_id=id_of_path(p), slide_path=str(p)) for p in paths]
    places = [f"{folder}, file {p.name}" for p in paths]
    for row, place in zip(rows, places, strict=True):
        check_slide_id(row.slide_id, place, error=ManifestError)
    refuse_duplicates(rows, places, error=ManifestError)
    return rows


def _tile_folders(folder: Path) -> list[Path]:
    """The subfolders that are slides of tile images, in order of name; the others are named."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [p for p in folders if is_tile_folder(p)]
    others = [p.name for p in folders if p not in set(found)]
    if found and others:
        _log.warning("%s: left out, for they hold no tile images: %s", folder, name_some(others))
    return found


def _foreign_slides(folder: Path, endings: tuple[str, ...]) -> str:
    """The slides of a folder in formats that nobody here reads, with what they are; "" for none."""
    unread = {
        ending: known.words
        for ending, known in SCANNER_FORMATS.items()
        if not known.read and ending not in endings
    }
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in unread)
    shown = [f"{name} ({unread[Path(name).suffix.lower()]})" for name in names[:_MOST_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _without_parts(paths: list[Path], folder: Path) -> list[Path]:
    """Leaves out files that are parts of another slide of the folder, or DeepZoom copies of one."""
    endings = [p.suffix.lower() for p in paths]
    if endings.count(".dcm") > 1:
        raise ManifestError(
            f"{folder} holds {endings.count('.dcm')} .dcm files, and which of them make one slide "
            "cannot be told from their names",
            expected="one .dcm file at most in a folder given as a cohort",
            remedy="write a slides.csv naming one .dcm file of each slide",
        )
    if {".vms", ".vmu"} & set(endings):  # Hamamatsu's index files point to JPEGs beside them
        paths = [p for p in paths if p.suffix.lower() not in (".jpg", ".jpeg")]
    # What a viewer has made of a slide for itself is not another slide.
    slides = {p.stem for p in paths if p.suffix.lower() != DEEPZOOM_SUFFIX}
    return [p for p in paths if p.suffix.lower() != DEEPZOOM_SUFFIX or p.stem not in slides]
