"""Imaging Data Commons (IDC): slides as DICOM series in a public bucket.

Version 3 of its API answers read-only SQL about the index of all series, without an account
(https://github.com/ImagingDataCommons/IDC-REST-MCP, docs/user-guide.md): `POST /v3/sql` with `sql`
and `max_rows` gives `rows` and whether they were `truncated`. A slide is a series of modality SM:
a folder `s3://BUCKET/<series UUID>/` with a DICOM file for each level of the pyramid, which all
are needed to open it; so the table names the folder.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slidenet.core.errors import ArchiveError
from slidenet.pipelines.archives.asking import ask, entry
from slidenet.pipelines.archives.portal_files import idc_list
from slidenet.pipelines.archives.slides import (
    ArchiveSlide,
    Asked,
    Found,
    as_number,
    check_copies,
    copy_of,
)

API = "https://api.imaging.datacommons.cancer.gov"
ROWS_PER_ANSWER = 2000
"""The API gives at most 10,000."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_COLUMNS = ("collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
            "SeriesDescription", "license_short_name", "source_DOI", "instanceCount",
            "series_size_MB", "aws_bucket", "crdc_series_uuid")  # fmt: skip


class Idc:
    """The archive.

    Args:
        api: Address of its API.
    """

    key = "crdc_series_uuid"
    example = "--collections tcga_luad"

    def __init__(self, api: str = API) -> None:
        self._api = api

    def tidy(self, asked: Asked) -> Asked:
        """Collections as the index writes them, UUIDs in small letters."""
        collections = (name.strip().lower().replace("-", "_") for name in asked.collections)
        ids = (name.lower() if UUID.fullmatch(name) else name for name in asked.ids)
        return Asked(tuple(collections), asked.patients, tuple(ids))

    def release(self) -> str:
        """Such as `IDC v25`."""
        url = f"{self._api}/v3/version"
        return f"IDC {entry(ask(url), 'idc_version', kind=str, url=url)}"

    def rows(self, asked: Asked) -> Iterator[Mapping[str, Any]]:
        """The rows of IDC's index about the slides that are wanted."""
        url = f"{self._api}/v3/sql"
        for part in asked.in_parts():
            last, full = "", True
            while full:
                answer = ask(url, {"sql": _query(part, last), "max_rows": ROWS_PER_ANSWER})
                rows = entry(answer, "rows", kind=list, url=url)
                full = len(rows) == ROWS_PER_ANSWER or answer.get("truncated") is True
                before = last
                for row in rows:
                    last = entry({"row": row}, "row", "SeriesInstanceUID", kind=str, url=url)
                    yield row
                if full and last <= before:
                    raise ArchiveError(f"{url} does not go on after series {last!r}")

    def read_list(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """A manifest of s5cmd, addresses, or a table."""
        return idc_list(path)

    def slides(
        self,
        rows: Iterable[Mapping[str, Any]],
        source: str,
        copies: Path | None,
        *,
        allow_missing: bool,
    ) -> Found:
        """The slides that rows are about.

        Args:
            rows: By the names of IDC's index, of which a list may lack most; `scheme` is gs for
                buckets of Google.
            source: The release, or the list.
            copies: Folder with copies: a folder per series named by its UUID, as in the bucket, or
                those that `idc download` makes.
            allow_missing: Whether slides without a copy are left out.
        """
        found: dict[str, ArchiveSlide] = {}
        away: set[str] = set()
        for row in rows:
            text = {name: "" if v is None else str(v).strip() for name, v in row.items()}
            uuid, bucket = text.get("crdc_series_uuid", ""), text.get("aws_bucket", "")
            series = text.get("SeriesInstanceUID", "") or uuid
            if not (uuid and bucket):
                raise ArchiveError(
                    f"{source} does not say where series {series!r} lies",
                    expected="aws_bucket and crdc_series_uuid, or series_aws_url, of every series",
                    remedy="leave out --offline, so that IDC is asked",
                )
            path = f"{text.get('scheme') or 's3'}://{bucket}/{uuid}/"
            if copies is not None:
                copy = copy_of((copies / uuid, _downloaded(copies, text)), ".dcm")
                if copy is None:
                    away.add(series)
                path = str(copy)
            found[series] = _slide(series, path, text)
        where = f"{copies}/<crdc_series_uuid>/, or where `idc download` lays them"
        lines = check_copies(away, len(found), where, allow_missing)
        kept = (slide for name, slide in found.items() if name not in away)
        return Found(tuple(kept), source, tuple(lines))


def _slide(series: str, path: str, text: Mapping[str, str]) -> ArchiveSlide:
    size = round(as_number(text.get("series_size_MB"), f"series {series}") * 1e6)
    keys = ("SeriesInstanceUID", "StudyInstanceUID", "crdc_series_uuid", "ContainerIdentifier")
    return ArchiveSlide(
        slide_id=series,
        slide_path=path,
        patient_id=text.get("PatientID", ""),
        about={
            "collection": text.get("collection_id", ""),
            "container_id": text.get("ContainerIdentifier", ""),
            "description": text.get("SeriesDescription", ""),
            "licence": text.get("license_short_name", ""),
            "doi": text.get("source_DOI", ""),
            "num_files": text.get("instanceCount", ""),
            "size_bytes": str(size) if size else "",
            "series_uuid": text["crdc_series_uuid"],
        },
        size_bytes=size,
        own_id=text["crdc_series_uuid"],
        names={
            "collections": frozenset({text.get("collection_id", "")}),
            "patients": frozenset({text.get("PatientID", "")}),
            "ids": frozenset(text.get(key, "") for key in keys),
        },
    )


def _downloaded(copies: Path, text: Mapping[str, str]) -> Path:
    """Where `idc download` lays a series, as its documentation says."""
    names = ("collection_id", "PatientID", "StudyInstanceUID")
    series = f"SM_{text.get('SeriesInstanceUID', '')}"
    return copies.joinpath(*(text.get(name, "") for name in names), series)


def _query(asked: Asked, after: str) -> str:
    """The question about one page of slides, in order of their SeriesInstanceUIDs."""
    conditions = ["i.Modality = 'SM'", f"i.SeriesInstanceUID > {_literal(after)}"]
    if asked.collections:
        conditions.append(_is_in("i.collection_id", asked.collections))
    if asked.patients:
        conditions.append(_is_in("i.PatientID", asked.patients))
    if asked.ids:
        uuids = [name for name in asked.ids if UUID.fullmatch(name)]
        uids = [name for name in asked.ids if _UID.fullmatch(name)]
        others = [name for name in asked.ids if name not in {*uuids, *uids}]
        either = [
            _is_in("i.crdc_series_uuid", uuids),
            _is_in("i.SeriesInstanceUID", uids),
            _is_in("i.StudyInstanceUID", uids),
            _is_in("s.ContainerIdentifier", others),
        ]
        conditions.append(f"({' OR '.join(filter(None, either))})")
    columns = ", ".join(f"i.{name}" for name in _COLUMNS)
    return (
        f"SELECT {columns}, s.ContainerIdentifier FROM index i "
        "LEFT JOIN sm_index s USING (SeriesInstanceUID) "
        f"WHERE {' AND '.join(conditions)} ORDER BY i.SeriesInstanceUID LIMIT {ROWS_PER_ANSWER}"
    )


def _is_in(column: str, names: list[str] | tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(map(_literal, names))})" if names else ""


def _literal(text: str) -> str:
    """A text in SQL, without what begins a comment, which the API drops from texts, too."""
    doubled = text.replace("'", "''")
    return "'" + re.sub(r"(?<=-)(?=-)|(?<=/)(?=\*)", "' || '", doubled) + "'"
