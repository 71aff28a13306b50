"""Lists that the portals of archives write: which slides, and what else they say."""

import csv
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from slidenet.core.errors import ManifestError
from slidenet.core.text import count_of, name_some

_SERIES = re.compile(
    r"(?P<scheme>s3|gs)://(?P<aws_bucket>[^/\s,\"']+)/"
    r"(?P<crdc_series_uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=/|\s|\"|'|,|$)",
    re.IGNORECASE,
)
_GOOGLE = "storage.googleapis.com"
_SLIDES = (".svs", ".tif", ".tiff", ".jp2", ".scn", ".ndpi")
_COLUMNS = {"series_uuid": "crdc_series_uuid"}

_log = logging.getLogger(__name__)

Row = Mapping[str, str]


def idc_list(path: Path) -> list[Row]:
    """The series of a list of IDC: a manifest of s5cmd, addresses, or a table with a header.

    A table is a CSV or TSV of the portal, of `idc-index`, or of anybody who kept its names; lines
    before the header are passed over, and series that are no slides are told.

    Raises:
        ManifestError: It names no series.
    """
    text = _read(path)
    columns = {"SeriesInstanceUID", "crdc_series_uuid", "series_uuid", "series_aws_url"}
    rows = _table(path, text, columns)
    if not rows:
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        rows = [found.groupdict() for line in lines for found in _SERIES.finditer(line)]
    slides = [_with_place(row, text) for row in rows if row.get("Modality", "SM") in ("SM", "")]
    _say_left_out(path, len(rows) - len(slides))
    if not slides:
        raise _names_nothing(
            path,
            rows,
            "a manifest of s5cmd, addresses s3://BUCKET/UUID/*, or a table with a column "
            "SeriesInstanceUID or crdc_series_uuid",
        )
    return slides


def gdc_list(path: Path) -> list[Row]:
    """The files of a manifest of GDC: `id`, `filename`, `md5`, `size`, `state`, split by tabs.

    Raises:
        ManifestError: It names no slide.
    """
    rows = _table(path, _read(path), {"id"})
    slides = [row for row in rows if row.get("filename", "").lower().endswith(_SLIDES)]
    _say_left_out(path, len(rows) - len(slides))
    if not slides:
        raise _names_nothing(
            path,
            rows,
            "a manifest of GDC with the columns id and filename, and slides (.svs) in it",
        )
    return slides


def _say_left_out(path: Path, number: int) -> None:
    if number:
        _log.warning("%s: left out %s without a slide", path, count_of("row", number))


def _names_nothing(path: Path, rows: list[Row], expected: str) -> ManifestError:
    kinds = sorted({row.get("Modality") or row.get("filename", "") for row in rows})
    held = (
        f"{count_of('row', len(rows))} and no slide ({name_some(kinds)})" if rows else "no slides"
    )
    return ManifestError(
        f"{path} holds {held}",
        expected=expected,
        remedy="export the list once more, or name what you want by --ids",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8 text", remedy="export it as text") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error


def _table(path: Path, text: str, one_of: set[str]) -> list[Row]:
    """The rows below the first line that names one of the columns; none where no line does."""
    try:
        return _rows_below_header(text, one_of)
    except csv.Error as error:
        raise ManifestError(f"{path} is no table ({error})", remedy="export it once more") from None


def _rows_below_header(text: str, one_of: set[str]) -> list[Row]:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        separator = "\t" if "\t" in line else ","
        header = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
        if one_of & set(header):
            rows = csv.reader(lines[number + 1 :], delimiter=separator)
            names = [_COLUMNS.get(name, name) for name in header]
            return [dict(zip(names, map(str.strip, row), strict=False)) for row in rows if any(row)]
    return []


def _with_place(row: Row, text: str) -> Row:
    """A row with bucket, UUID and scheme, as far as it says them in whatever words."""
    addresses = [row[name] for name in ("series_aws_url", "aws_url", "gcs_url") if row.get(name)]
    found = _SERIES.search(addresses[0]) if addresses else None
    place = {**(found.groupdict() if found else {}), **{name: v for name, v in row.items() if v}}
    if place.get("scheme") == "s3" and not addresses and _GOOGLE in text:
        place["scheme"] = "gs"  # s5cmd reads Google's buckets by the words of Amazon
    return place
