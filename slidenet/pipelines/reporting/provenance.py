"""Where everything in the report comes from: software, settings, identities, digests of files."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slidenet.core.provenance import (
    canonical_json,
    cohort_identity,
    identity_hash,
    software_version,
)
from slidenet.core.text import count_of
from slidenet.pipelines.reporting.cohort_files import CohortFound, number_of
from slidenet.pipelines.reporting.run_files import RunFound, size_and_digest
from slidenet.visualisation.html import (
    Child,
    Column,
    Html,
    Section,
    details,
    element,
    facts,
    missing,
    note,
    table,
)

MOST_LETTERS = 20_000
"""Of the settings of one verb."""


def provenance_section(found: CohortFound, runs: Sequence[RunFound]) -> Section:
    """Versions, settings of every verb, identities of what was made, digests of files."""
    parts: list[Html] = [
        facts({"this page is by": f"slidenet {software_version()}"} | dict(found.versions))
    ]
    if found.stages:
        columns = [Column("verb"), Column("last started (UTC)"), Column("seconds", True),
                   Column("slides", True), Column("failed", True)]  # fmt: skip
        rows = [_stage_row(verb, stage) for verb, stage in sorted(found.stages.items())]
        parts.append(table(columns, rows, caption="Verbs on the slides of this folder"))
        for verb, stage in sorted(found.stages.items()):
            parts.append(details(f"Settings of {verb}", *_settings(stage.get("settings"))))
    else:
        parts.append(missing("run.json, which holds the settings of the verbs."))
    parts += _identities(found)
    files = [path for run in runs for path in _files_of(run)]
    if files:
        found_of = ((path.name, *size_and_digest(path)) for path in files)
        listed = [(name, size, _code(digest)) for name, size, digest in found_of]
        columns = [Column("file"), Column("bytes", True), Column("SHA-256")]
        parts.append(table(columns, listed, caption="Files of the run that this page speaks of"))
    for run in runs:
        if run.plan:
            parts.append(details(f"What {run.folder.name} was begun with", *_settings(run.plan)))
    return Section("provenance", "Provenance", parts, "" if found.stages else "no run.json")


def _stage_row(verb: str, stage: Mapping[str, Any]) -> tuple[Child, ...]:
    seconds, slides = number_of(stage.get("seconds")), stage.get("slides")
    return (
        verb,
        str(stage.get("started", "")),
        None if seconds is None else f"{seconds:,.1f}",
        len(slides) if isinstance(slides, list) else None,
        str(stage.get("num_failed", "")),
    )


def _settings(settings: object) -> list[Html]:
    """Settings as a list; nested ones as JSON."""
    if not isinstance(settings, Mapping):
        return [note("plain", "none are known")]
    pairs = [(str(name), _code(_text(value))) for name, value in settings.items()]
    return [facts(pairs)]


def _text(value: object) -> str:
    """A value of a setting, cut where it goes on for pages (the folds of a large cohort)."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} … ({len(text):,} letters)"


def _identities(found: CohortFound) -> list[Html]:
    """How many slides were made with which settings, by the hash of these."""
    kinds: dict[str, Counter[str]] = {"tiles": Counter()}
    content: dict[str, str] = {}
    for tiles in found.tiled.values():
        identity = cohort_identity(tiles.identity)
        key = identity_hash(identity)
        kinds["tiles"][key] += 1
        content.setdefault(key, canonical_json(identity))
    for encoder in found.encoders:
        counts = kinds.setdefault(f"features of {encoder}", Counter())
        for slide in found.slides.values():
            if encoder in slide.features:
                identity = slide.features[encoder].cohort_identity
                key = identity_hash(identity)
                counts[key] += 1
                content.setdefault(key, canonical_json(identity))
    rows = [
        (what, _code(key), number)
        for what, counts in kinds.items()
        for key, number in counts.most_common(20)
    ]
    if not rows:
        return []
    columns = [Column("made"), Column("identity"), Column("slides", True)]
    parts: list[Html] = [table(columns, rows, caption="Settings and inputs, by their hash")]
    for what, counts in kinds.items():
        for key, number in counts.most_common(3):
            summary = f"Identity {key}: {what} of {count_of('slide', number)}"
            parts.append(details(summary, element("p", _code(content[key][:MOST_LETTERS]))))
    return parts


def _files_of(run: RunFound) -> list[Path]:
    files = [file.path for file in run.predictions]
    files += [] if run.evaluation is None else [run.evaluation]
    return files if run.bundle is None else [run.bundle, *files]


def _code(text: str) -> Html:
    return element("code", text)
