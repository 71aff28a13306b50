"""`slidenet report`: one HTML file about a cohort and a model, which works without a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.checks import check_positive, check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.text import count_of
from slidenet.evaluation import SummarySettings
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.reporting.budget import PictureBudget, total_bytes
from slidenet.pipelines.reporting.cohort_files import CohortFound, read_cohort
from slidenet.pipelines.reporting.cohort_table import cohort_section, resolution_section
from slidenet.pipelines.reporting.failures import failures_section
from slidenet.pipelines.reporting.feature_health import features_section
from slidenet.pipelines.reporting.maps import has_maps, maps_section
from slidenet.pipelines.reporting.model_card import model_card_section
from slidenet.pipelines.reporting.performance import Performance, judge
from slidenet.pipelines.reporting.provenance import provenance_section
from slidenet.pipelines.reporting.quality import quality_section
from slidenet.pipelines.reporting.run_files import RunFound, read_run
from slidenet.pipelines.reporting.training import training_section
from slidenet.stores.atomic import atomic_path
from slidenet.visualisation.html import (
    Html,
    Section,
    element,
    listing,
    missing,
    note,
    page,
)

REPORT_NAME = "report.html"
FRAME_BYTES, CARD_BYTES = 60_000, 1_000
"""Of the page around its sections, and of the words below a picture, more than they are."""
SHARE_OF_MAPS = 0.45
"""Of the bytes that are left for pictures of slides: those of maps, the others show tissue."""


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """What `report` made.

    Attributes:
        path: The page.
        num_bytes: How large it is.
        num_slides: Slides it is about.
        lacks: By the title of a section, what is not there.
        exit_code: Always 0: a report about failures is none.
    """

    path: Path
    num_bytes: int
    num_slides: int
    lacks: dict[str, str]
    exit_code: int = 0

    def table(self) -> str:
        """Where it lies, how large it is, and what it has nothing about."""
        size = f"{self.num_bytes / 1e6:.1f} MB"
        lines = [f"wrote {self.path} ({size}, {count_of('slide', self.num_slides)}); open it in a "
                 "browser, it needs no network"]  # fmt: skip
        lines += [f"not in it: {title} ({what})" for title, what in self.lacks.items()]
        return "\n".join(lines)


def report(
    out: str | Path,
    run: str | Path | None = None,
    *,
    to: str | Path | None = None,
    title: str | None = None,
    max_pictures: int = 250,
    max_maps: int = 24,
    max_megabytes: float = 25.0,
    num_bootstrap: int = 1000,
    seed: int = 0,
    allow_code: bool = False,
) -> WrittenReport:
    """Put all that is known of a cohort and a model on one page.

    The page is one HTML file that asks for nothing from anywhere. It is made from what lies in the
    folders, whole or half-finished, and says what is not there. The same folders give the same
    bytes.

    Args:
        out: Output folder of `slidenet run` (or of preprocess, embed-tiles, predict, explain).
        run: Folder of `slidenet train`, `crossval`, `predict` or `evaluate`, to report on a model,
            too.
        to: The file to write; default: report.html in the output folder.
        title: Heading of the page; default: the name of the folder.
        max_pictures: Slides whose tissue is shown, at most; the most doubtful, and a sample.
        max_maps: Slides whose maps are shown, at most.
        max_megabytes: How large the file may be; fewer pictures are shown where it would be larger.
        num_bootstrap: Resamples of patients behind every interval.
        seed: Decides the resamples.
        allow_code: Let the model name classes outside slidenet; importing them runs their code.

    Raises:
        ConfigError: A folder is not there, or holds nothing of slidenet; or a limit is too small.
        OutputError: The file cannot be written.
    """
    check_whole(least=0, max_pictures=max_pictures, max_maps=max_maps)
    check_whole(num_bootstrap=num_bootstrap)
    check_positive(max_megabytes=max_megabytes)
    out = _folder(out, "out")
    folders = [*([_folder(run, "run")] if run is not None else []), out]
    path = out / REPORT_NAME if to is None else Path(to)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--to is {str(path)!r}", expected="a name ending in .html")
    found = read_cohort(OutputLayout(out))
    runs = [read_run(folder, allow_code=allow_code) for folder in dict.fromkeys(folders)]
    _refuse_nothing(found, runs, folders)
    trained = next((one for one in runs if one.is_run), runs[0] if run is not None else None)
    performance = judge(runs, SummarySettings(num_bootstrap=num_bootstrap, seed=seed))
    problems = [*found.problems, *(line for one in runs for line in one.problems)]
    before = [cohort_section(found), resolution_section(found), failures_section(found, problems)]
    after = [
        features_section(found),
        training_section(trained),
        performance.section,
        model_card_section(runs, performance),
        provenance_section(found, runs),
    ]
    texts = [part.markup for section in (*before, *after) for part in section.parts]
    around = FRAME_BYTES + CARD_BYTES * (max_pictures + 3 * max_maps)
    left = int(max_megabytes * 1e6) - total_bytes(texts) - around
    if left < 0:
        raise ConfigError(
            f"--max-megabytes is {max_megabytes:g}",
            expected=f"at least {(int(max_megabytes * 1e6) - left) / 1e6 + 0.1:.1f}: tables and "
            "charts alone are as large",
        )
    of_maps = PictureBudget(int(SHARE_OF_MAPS * left))
    maps = maps_section(folders, of_maps, most=max_maps)
    of_tissue = PictureBudget(left - int(SHARE_OF_MAPS * left) + of_maps.left)
    quality = quality_section(found, of_tissue, most=max_pictures)
    cohort, resolution, failures = before
    features, training, judged, card, provenance = after
    sections = [
        cohort, quality, resolution, failures, features, training, judged, maps, card, provenance,
    ]  # fmt: skip
    lacks = {section.title: section.lacks for section in sections if section.lacks}
    heading = title or f"{out.resolve().name}: report"
    text = page(heading, _subtitle(out, runs), [_overview(found, performance, sections), *sections])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return WrittenReport(path, len(text.encode("utf-8")), len(found.slides), lacks)


def _folder(path: str | Path, name: str) -> Path:
    path = Path(path)
    if not path.is_dir():
        there = "is a file" if path.exists() else "does not exist"
        raise ConfigError(
            f"{name} {str(path)!r} {there}", expected="a folder that slidenet has written into"
        )
    return path


def _refuse_nothing(found: CohortFound, runs: Sequence[RunFound], folders: Sequence[Path]) -> None:
    """Refuses folders in which there is nothing to report on."""
    maps = any(has_maps(folder) for folder in folders)
    of_runs = any(run.is_run or run.predictions or run.bundle or run.evaluation for run in runs)
    if found.slides or found.stages or found.problems or of_runs or maps:
        return
    named = " and ".join(str(folder) for folder in dict.fromkeys(folders))
    raise ConfigError(
        f"{named} holds nothing that slidenet wrote",
        expected="tiles, features, run.json, a trained model, predictions or their evaluation",
        remedy="give the output folder of `slidenet run`, and the folder of a training after it",
    )


def _subtitle(out: Path, runs: Sequence[RunFound]) -> str:
    trained = [run.folder.name for run in runs if run.is_run]
    text = f"Of the folder {out.resolve().name}"
    return f"{text} and the run {', '.join(trained)}" if trained else text


def _overview(found: CohortFound, performance: Performance, sections: Sequence[Section]) -> Section:
    """Key numbers, the result, and what is not there."""
    slides = found.slides.values()
    numbers = {
        "slides": len(slides),
        "tiles": sum(tiles.num_tiles for tiles in found.tiled.values()),
        "failed": sum(bool(slide.failed_in) for slide in slides),
        "tissue to look at": sum(s.record is not None and s.record.is_doubtful for s in slides),
        "unreadable tiles": sum(slide.num_unreadable for slide in slides),
    }
    shown = [element("li", element("b", f"{number:,}"), name) for name, number in numbers.items()]
    parts: list[Html] = [element("ul", *shown, class_="tiles")] if slides else []
    parts += [element("p", element("strong", text)) for text in performance.sentences[:4]]
    parts += [note("bad", text) for text in performance.cautions[:4]]
    lacking = [_link(section) for section in sections if section.lacks]
    if lacking:
        parts += [missing("some of what a full report has:"), listing(lacking)]
    return Section("overview", "At a glance", parts)


def _link(section: Section) -> Html:
    """A link to a section, with what it lacks."""
    link = element("a", section.title, href=f"#{section.anchor}")
    return element("span", link, f": {section.lacks}")
