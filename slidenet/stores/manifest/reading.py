"""The manifest of a cohort: `slides.csv`, or simply a folder of slides.

`slides.csv` is UTF-8 (with or without a byte-order mark), separated by commas, with a header:

- `slide_path` (required): where the slide lies; a relative path is relative to the manifest file;
  or the address of an object (`s3://bucket/slide.svs`), of a DICOM slide also of its folder,
  ending in a slash;
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
from slidenet.slides import SCANNER_FORMATS, SLIDE_SUFFIXES
from slidenet.stores.csv_table import read_csv_table
from slidenet.stores.manifest.folders import slides_of_folder
from slidenet.stores.manifest.from_store import slides_of_store
from slidenet.stores.manifest.patients import find_patient_column
from slidenet.stores.manifest.rows import SLIDE_COLUMNS, path_error, slide_rows
from slidenet.stores.manifest.slide_ids import check_slide_ids, look_alike_notes
from slidenet.stores.objects import uri_of

_log = logging.getLogger(__name__)


def read_manifest(
    path_or_folder: str | os.PathLike[str],
    *,
    suffixes: Collection[str] = SLIDE_SUFFIXES,
    patient_column: str | None = None,
    recursive: bool = False,
) -> list[SlideRow]:
    """Reads the slides of a cohort.

    What lies in a folder and is not among its slides is told in the log, by count and name and why;
    so are slides whose ids look alike.

    Args:
        path_or_folder: A `slides.csv`, or a folder (or their addresses in a store; that of a folder
            ends in a slash) whose slide files make the cohort, in order of
            name, with the file stem as `slide_id`; a folder without slide files whose subfolders
            hold tile images, each of them a slide; or one slide file, a cohort of one.
        suffixes: File name endings that make a file of the folder a slide; case does not matter.
        patient_column: Says whose slide it is; found by its name where not given.
        recursive: Of a folder: whether slides of all subfolders are of the cohort, too.

    Returns:
        One row per slide, in order.

    Raises:
        ManifestError: Naming the file, the row (line of the file) and the column at fault.
        ObjectStoreError: There is no such object, or no right to read it.
    """
    path, uri = Path(path_or_folder), uri_of(path_or_folder)
    lines: list[str] = []
    if uri is not None:
        rows, lines = slides_of_store(
            uri,
            suffixes,
            recursive=recursive,
            read_table=lambda copy, folder: _rows_of_table(copy, patient_column, folder=folder),
        )
    elif path.is_dir():
        found = slides_of_folder(path, suffixes, recursive=recursive)
        rows, lines = list(found.rows), list(found.lines())
    elif recursive:
        raise ManifestError(
            f"--recursive is given, and {path} is no folder",
            expected="a folder of slides",
            remedy="leave out --recursive: a slides.csv may name slides in any folder",
        )
    elif path.name.lower().endswith((*(suffix.lower() for suffix in suffixes), *SCANNER_FORMATS)):
        # One that nobody reads is refused when it is opened.
        rows = [SlideRow(slide_id=path.stem, slide_path=str(path))]
        check_slide_ids(rows, [str(path)], error=ManifestError)
    else:
        rows = _rows_of_table(path, patient_column)
    for line in (*lines, *look_alike_notes([row.slide_id for row in rows])):
        _log.warning("%s", line)
    return rows


def _rows_of_table(
    path: Path, patient_column: str | None, *, folder: str | None = None
) -> list[SlideRow]:
    if not path.exists():
        raise ManifestError(f"{path} does not exist", expected="a slides.csv or a folder of slides")
    table = read_csv_table(path, error=ManifestError, one_of=("slide_path",), known=SLIDE_COLUMNS)
    patients = find_patient_column(table, patient_column, refuse=False)
    rows = slide_rows(table, patients, folder=folder)
    for row, line in zip(rows, table.rows, strict=True):
        if not row.slide_path:
            raise path_error("", table.place(line), ManifestError)
    return rows
