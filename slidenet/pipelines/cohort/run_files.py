"""`run.json`: what last happened to each slide in each verb, by whichever process.

Every process writes a file of its own under `runs/`, and `run.json` is a view that anybody may
make of all of them at any time. Who has written it looks again whether a file has come meanwhile,
so that the last one to write it has seen all. Files of which nothing is left in the view are
removed.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.errors import StoreError
from slidenet.core.provenance import software_version
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import ELSEWHERE, RunReport
from slidenet.stores.atomic import output_errors, write_json, write_json_once
from slidenet.stores.json_file import read_json
from slidenet.stores.owners import host_name, new_token
from slidenet.stores.temporary import time_of_disk_ns

VERSIONED_PACKAGES = ("slidenet", "torch", "timm", "openslide-python", "h5py")

_ENDED, _OF_FILES = "ended_ns", "runs"
_MOST_TRIES = 20


@dataclass(frozen=True)
class _Run:
    """What one process said of one verb.

    Attributes:
        path: Its file.
        ended_ns: When it ended, by the clock of the disk.
        stage: As in `run.json`.
    """

    path: Path
    ended_ns: int
    stage: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, str]:
        return self.ended_ns, self.path.name


def write_run_report(layout: OutputLayout, report: RunReport) -> None:
    """Writes what this process did, and `run.json` anew.

    Raises:
        OutputError: The output folder cannot be written.
    """
    with output_errors(layout.runs):
        layout.runs.mkdir(parents=True, exist_ok=True)
        _keep_older_report(layout)
        ended_ns = time_of_disk_ns(layout.runs)
    own = layout.runs / f"{report.verb}-{host_name()}-{new_token()}.json"
    write_json(own, {_ENDED: ended_ns, **_versions(), "stages": {report.verb: report.record()}})
    write_view(layout, own)


def write_view(layout: OutputLayout, own: Path | None = None) -> None:
    """Writes `run.json` anew from the files of all processes.

    Args:
        layout: Paths of the output folder.
        own: The file that this process has just written, which stays in any case.

    Raises:
        OutputError: The output folder cannot be written.
    """
    for _ in range(_MOST_TRIES):
        there = _files(layout)
        runs = list(_runs(there))
        view, needed = _merge(runs)
        write_json(layout.run_report, {**_versions(), _OF_FILES: len(needed), "stages": view})
        for path in {run.path for _, run in runs} - needed - {own}:
            with suppress(OSError):  # others clear up, too
                path.unlink()
        if _files(layout) <= there:
            return


def _versions() -> dict[str, Any]:
    packages = {name: software_version(name) for name in VERSIONED_PACKAGES}
    return {"python": platform.python_version(), "versions": packages}


def _files(layout: OutputLayout) -> set[Path]:
    return {path for path in layout.runs.glob("*.json") if not path.name.startswith(".")}


def _keep_older_report(layout: OutputLayout) -> None:
    """Takes a `run.json` of an older version, which was no view, as the file of a process."""
    try:
        found = read_json(layout.run_report, needs=("stages",), remedy="")
        ended_ns = layout.run_report.stat().st_mtime_ns
    except (StoreError, FileNotFoundError):
        return  # absent or not ours: a report is a log, and is written anew
    if _OF_FILES not in found:
        kept = layout.runs / f"older-version-{ended_ns}.json"
        write_json_once(kept, {_ENDED: ended_ns, **found})


def _runs(paths: set[Path]) -> Iterator[tuple[str, _Run]]:
    """Verb and report of every process, without files that are spoilt."""
    for path in paths:
        with suppress(StoreError, KeyError, TypeError, ValueError, AttributeError):
            found = read_json(path, needs=(_ENDED, "stages"), remedy="")
            for verb, stage in found["stages"].items():
                slides = {str(record["slide_id"]): dict(record) for record in stage["slides"]}
                yield verb, _Run(path, int(found[_ENDED]), {**stage, "slides": slides})


def _merge(runs: Sequence[tuple[str, _Run]]) -> tuple[dict[str, Any], set[Path]]:
    """The stages of `run.json`, and the files they are made of."""
    stages, needed = dict[str, Any](), set[Path]()
    for verb in sorted({verb for verb, _ in runs}):
        of_verb = sorted((run for name, run in runs if name == verb), key=lambda run: run.order)
        slides: dict[str, tuple[dict[str, Any], Path]] = {}
        for run in of_verb:
            for slide_id, record in run.stage["slides"].items():
                # Who was working on it then has ended since, or says so himself.
                if record.get("status") != ELSEWHERE or _is_elsewhere(slides.get(slide_id)):
                    slides[slide_id] = record, run.path
        records = [record for record, _ in slides.values()]
        num_failed = sum(record.get("status") == "failed" for record in records)
        stages[verb] = {**of_verb[-1].stage, "num_failed": num_failed, "slides": records}
        needed |= {of_verb[-1].path, *(path for _, path in slides.values())}
    return stages, needed


def _is_elsewhere(known: tuple[dict[str, Any], Path] | None) -> bool:
    return known is None or known[0].get("status") == ELSEWHERE
