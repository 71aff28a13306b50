"""Genomic Data Commons (GDC): slides as single files, by the address of their UUIDs.

`POST /files` (https://docs.gdc.cancer.gov/API/Users_Guide/Search_and_Retrieval/) takes `filters`,
`fields` and `sort`, and pages by `size` and `from`; hits lie in `data.hits`, their number in
`data.pagination.total`. Slides have the data type "Slide Image"; `experimental_strategy` tells
diagnostic slides (FFPE) from tissue slides (frozen). A file is read from `/data/UUID`; one of
controlled access only with a token, which slidenet has no use for. Of a file GDC gives an MD5, no
SHA-256.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from slidenet.core.errors import ArchiveError
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import tcga_case
from slidenet.pipelines.archives.asking import ask, entry
from slidenet.pipelines.archives.idc import UUID
from slidenet.pipelines.archives.portal_files import gdc_list
from slidenet.pipelines.archives.slides import (
    ArchiveSlide,
    Asked,
    Found,
    as_number,
    check_copies,
)
from slidenet.stores.manifest.slide_ids import name_for_file

API = "https://api.gdc.cancer.gov"
ROWS_PER_ANSWER = 1000
SlideKind = Literal["all", "diagnostic", "tissue"]

_STRATEGY = {"diagnostic": "Diagnostic Slide", "tissue": "Tissue Slide"}
_FIELDS = ("file_id", "file_name", "file_size", "md5sum", "access", "data_format",
           "experimental_strategy", "cases.case_id", "cases.submitter_id",
           "cases.project.project_id", "cases.samples.sample_type")  # fmt: skip


class Gdc:
    """The archive.

    Args:
        api: Address of its API.
        kind: Which of its slides.
    """

    key = "id"
    example = "--collections TCGA-LUAD"

    def __init__(self, api: str = API, kind: SlideKind = "all") -> None:
        self._api, self._kind = api, kind

    def tidy(self, asked: Asked) -> Asked:
        """UUIDs in small letters."""
        patients, ids = (
            tuple(name.lower() if UUID.fullmatch(name) else name for name in names)
            for names in (asked.patients, asked.ids)
        )
        return Asked(asked.collections, patients, ids)

    def release(self) -> str:
        """Such as `GDC Data Release 45.0 - December 04, 2025`."""
        url = f"{self._api}/status"
        return f"GDC {entry(ask(url), 'data_release', kind=str, url=url)}"

    def rows(self, asked: Asked) -> Iterator[Mapping[str, Any]]:
        """What GDC says of the slides that are wanted, by the names of a list of its portal."""
        url = f"{self._api}/files"
        for part in asked.in_parts():
            question = {
                "filters": _filters(part, self._kind),
                "fields": ",".join(_FIELDS),
                "format": "JSON",
                "sort": "file_id:asc",
                "size": ROWS_PER_ANSWER,
            }
            read, total = 0, 1
            while read < total:
                answer = ask(url, {**question, "from": read})
                hits = entry(answer, "data", "hits", kind=list, url=url)
                total = entry(answer, "data", "pagination", "total", kind=int, url=url)
                if not hits and read < total:
                    raise ArchiveError(f"{url} gave {read} of {total} files, and no more")
                read += len(hits)
                yield from (
                    _row(entry({"hit": hit}, "hit", kind=dict, url=url), url) for hit in hits
                )

    def read_list(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """A manifest as the portal and the API write it."""
        return gdc_list(path)

    def slides(
        self,
        rows: Iterable[Mapping[str, Any]],
        source: str,
        copies: Path | None,
        *,
        allow_missing: bool,
    ) -> Found:
        """The slides that GDC's answers, or a list of its portal, are about.

        Args:
            rows: Files; a list has `id`, `filename`, `md5` and `size` only.
            source: The release, or the list.
            copies: Folder in which `gdc-client download` has put them: `UUID/NAME`.
            allow_missing: Whether slides without a copy are left out.
        """
        found: dict[str, ArchiveSlide] = {}
        away: set[str] = set()
        closed, kinds = 0, Counter[str]()
        for row in rows:
            uuid, name = str(row["id"]).lower(), str(row["filename"])
            if not UUID.fullmatch(uuid):
                raise ArchiveError(
                    f"{source} names a file by {row['id']!r}", expected="the UUID of a file of GDC"
                )
            slide_id = name_for_file(PurePosixPath(name).stem)
            cases = row["cases"] if "cases" in row else list(filter(None, [tcga_case(slide_id)]))
            path = f"{self._api}/data/{uuid}"
            if copies is not None:
                copy = copies / uuid / PurePosixPath(name).name
                if not copy.is_file():
                    away.add(uuid)
                path = str(copy)
            elif row.get("access") == "controlled":
                closed += 1
                continue
            kinds[str(row.get("experimental_strategy") or "")] += 1
            size = round(as_number(row.get("size"), source))
            found[uuid] = ArchiveSlide(
                slide_id=slide_id,
                slide_path=path,
                patient_id=" ".join(cases),
                about={
                    "collection": row.get("project") or "",
                    "slide_kind": row.get("experimental_strategy") or "",
                    "sample_type": row.get("sample_type") or "",
                    "format": row.get("data_format") or "",
                    "md5": row.get("md5") or "",
                    "size_bytes": str(size) if size else "",
                    "file_uuid": uuid,
                },
                size_bytes=size,
                own_id=uuid,
                names={
                    "collections": frozenset((row.get("project") or "").split()),
                    "patients": frozenset((*cases, *row.get("case_ids", ()))),
                    "ids": frozenset((uuid, name)),
                },
            )
        lines = check_copies(away, len(found), f"{copies}/UUID/NAME", allow_missing)
        if closed:
            lines.append(
                f"left out: {count_of('slide', closed)} of controlled access; who has the "
                "right to them downloads them with gdc-client and a token, and gives --copies"
            )
        if several := [one.slide_id for one in found.values() if " " in one.patient_id]:
            lines.append(
                f"{count_of('slide', len(several))} of several patients each: "
                f"{name_some(several)}; a split by patients does not know them"
            )
        if len(kinds) > 1:
            named = ", ".join(f"{n:,} {kind or 'of no kind'}" for kind, n in sorted(kinds.items()))
            lines.append(
                f"kinds are mixed: {named}; tissue slides are frozen sections and look different: "
                "--slide-kind diagnostic leaves them out"
            )
        kept = (slide for uuid, slide in found.items() if uuid not in away)
        return Found(tuple(kept), source, tuple(lines))


def _filters(asked: Asked, kind: SlideKind) -> dict[str, Any]:
    conditions = [_is_in("data_type", ["Slide Image"])]
    if kind != "all":
        conditions.append(_is_in("experimental_strategy", [_STRATEGY[kind]]))
    if asked.collections:
        conditions.append(_is_in("cases.project.project_id", asked.collections))
    for names, by_uuid, by_name in (
        (asked.patients, "cases.case_id", "cases.submitter_id"),
        (asked.ids, "file_id", "file_name"),
    ):
        uuids = [name.lower() for name in names if UUID.fullmatch(name)]
        others = [name for name in names if not UUID.fullmatch(name)]
        either = [_is_in(by_uuid, uuids)] * bool(uuids) + [_is_in(by_name, others)] * bool(others)
        conditions += [{"op": "or", "content": either}] * bool(either)
    return {"op": "and", "content": conditions}


def _is_in(field: str, names: Iterable[str]) -> dict[str, Any]:
    return {"op": "in", "content": {"field": field, "value": list(names)}}


def _row(hit: Mapping[str, Any], url: str) -> Mapping[str, Any]:
    """A hit as a flat row, with the names of a list of the portal and what that lacks."""
    cases = entry({"hit": hit}, "hit", "cases", kind=list, url=url)
    samples = (sample for case in cases for sample in case.get("samples", ()))
    return {
        **{name: hit.get(name) for name in ("access", "data_format", "experimental_strategy")},
        "id": entry({"hit": hit}, "hit", "file_id", kind=str, url=url),
        "filename": entry({"hit": hit}, "hit", "file_name", kind=str, url=url),
        "md5": hit.get("md5sum"),
        "size": hit.get("file_size"),
        "cases": sorted({str(case.get("submitter_id", "")) for case in cases}),
        "case_ids": {str(case.get("case_id", "")) for case in cases},
        "project": " ".join(
            sorted({case.get("project", {}).get("project_id", "") for case in cases})
        ),
        "sample_type": "; ".join(
            sorted({str(sample.get("sample_type", "")) for sample in samples})
        ),
    }
