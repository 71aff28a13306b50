"""What people drew on the slides of a cohort: their tissue, and the regions tiles are to lie in."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from slidenet.core.checks import check_choice, check_share
from slidenet.core.errors import ConfigError, SlideError
from slidenet.core.records import REGION_BY, SlideRow, TileSet
from slidenet.core.text import count_of, name_some
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.slides import Slide
from slidenet.stores.objects import name_of_slide
from slidenet.tissue import (
    ChosenRegions,
    DrawnOut,
    Tissue,
    check_placed,
    drawn_out,
    drawn_regions,
    drawn_tissue,
    find_region_file,
)
from slidenet.tissue.regions.places import SUFFIXES

_FILES = "{slide_id} or the slide file's name, then .geojson, .json, .geojson.gz or .xml"


def check_drawn_settings(settings: PreprocessSettings) -> None:
    """Refuses settings of drawn tissue and regions that contradict each other.

    Raises:
        ConfigError: Naming them.
    """
    for name in ("tissue_geojson", "regions", "exclude_regions"):
        folder = getattr(settings, name)
        if folder is not None and not folder.is_dir():
            raise ConfigError(
                f"{name} is {folder}, which is no folder",
                expected=f"a folder with a file per slide: {_FILES}",
            )
    for name in ("region_classes", "exclude_classes"):
        classes = getattr(settings, name)
        if isinstance(classes, str):
            raise ConfigError(f"{name} is the text {classes!r}", expected="a list of classes")
        if classes is not None and not all(isinstance(one, str) and one for one in classes):
            raise ConfigError(f"{name} is {list(classes)}", expected="a list of class names")
    check_choice(REGION_BY, region_by=settings.region_by)
    check_share(min_region_fraction=settings.min_region_fraction)
    folders = (settings.tissue_geojson, settings.regions, settings.exclude_regions)
    drawn = any(folder is not None for folder in folders)
    for name, wanted, where in (
        ("tissue_class", settings.tissue_geojson is not None, "--tissue-geojson"),
        ("region_classes", settings.regions is not None, "--regions"),
        ("exclude_classes", drawn, "--tissue-geojson, --regions or --exclude-regions"),
    ):
        value = getattr(settings, name)
        if value and not wanted:
            raise ConfigError(
                f"{name} is {value!r} without {where}",
                expected="both, since only what is drawn has a class",
            )
    if settings.tissue_geojson is not None and settings.segmenter is not None:
        raise ConfigError(
            f"segmenter is {settings.segmenter!r} with --tissue-geojson",
            expected="one of them: no tissue is looked for where it is drawn",
            remedy="leave out --segmenter; to take areas off what a segmenter finds, pass "
            "--exclude-regions instead of --tissue-geojson",
        )
    if settings.regions is None and settings.region_by != "class":
        raise ConfigError(f"region_by is {settings.region_by!r} without --regions", expected="both")
    if settings.region_classes is not None and not settings.region_classes:
        raise ConfigError(
            "region_classes is an empty list",
            expected="at least one class, or no region_classes for all of them",
        )
    if settings.region_classes is not None and settings.region_by == "core":
        raise ConfigError(
            f"region_classes is {list(settings.region_classes)} with --region-by core",
            expected="one of them: cores are told apart by their names and have no classes",
            remedy="leave out --region-classes, or pass --region-by class",
        )


def check_not_overwritten(settings: PreprocessSettings, layout: OutputLayout) -> None:
    """Refuses to read what people drew from where it would be written over.

    Raises:
        ConfigError: Naming the folder.
    """
    written = layout.tissue("").parent.resolve()
    for flag, folder in (
        ("--tissue-geojson", settings.tissue_geojson),
        ("--regions", settings.regions),
        ("--exclude-regions", settings.exclude_regions),
    ):
        if folder is not None and folder.resolve() == written:
            raise ConfigError(
                f"{flag} {folder} is where the tissue of this output folder is written",
                expected="files that are not written over while they are read",
                remedy="move the corrected files to a folder of their own, or choose another --out",
            )


def tissue_of_slide(settings: PreprocessSettings, slide: Slide, slide_id: str) -> Tissue | None:
    """Tissue that was drawn for this slide; None where a segmenter is to find it.

    Raises:
        SlideError: There is no file for this slide, or it cannot be used.
    """
    if settings.tissue_geojson is None:
        return None
    return drawn_tissue(
        slide,
        _file_of(settings.tissue_geojson, slide, slide_id, "tissue", "--tissue-geojson"),
        classification=settings.tissue_class,
        frame=settings.annotation_frame,
        exclude_classes=settings.exclude_classes or (),
    )


def regions_of_slide(
    settings: PreprocessSettings, slide: Slide, slide_id: str
) -> ChosenRegions | None:
    """Regions that were drawn on this slide; None where none were asked for.

    Raises:
        SlideError: There is no file for this slide, or it cannot be used.
    """
    if settings.regions is None:
        return None
    check_placed(slide, "--regions")
    return drawn_regions(
        slide,
        _file_of(settings.regions, slide, slide_id, "regions", "--regions"),
        by=settings.region_by,
        classes=settings.region_classes,
        frame=settings.annotation_frame,
        exclude_classes=settings.exclude_classes or (),
    )


def drawn_out_of_slide(
    settings: PreprocessSettings, slide: Slide, slide_id: str
) -> DrawnOut | None:
    """What is drawn out on this slide; None where there is no file for it.

    Raises:
        SlideError: The file cannot be used.
    """
    if settings.exclude_regions is None:
        return None
    path = find_region_file(settings.exclude_regions, slide_id, slide.path)
    if path is None:
        return None
    check_placed(slide, "--exclude-regions")
    tissue_class = () if settings.tissue_class is None else (settings.tissue_class,)
    return drawn_out(
        slide,
        path,
        frame=settings.annotation_frame,
        exclude_classes=settings.exclude_classes or (),
        wanted_classes=(*(settings.region_classes or ()), *tissue_class),
    )


def _file_of(folder: Path, slide: Slide, slide_id: str, what: str, flag: str) -> Path:
    path = find_region_file(folder, slide_id, slide.path)
    if path is None:
        raise SlideError(
            f"there is no {folder / slide_id}.geojson",
            expected=f"one file of drawn {what} per slide in {flag}: {_FILES}",
            remedy="export the annotations of this slide from QuPath under that name, or leave the "
            "slide out",
            slide=slide_id,
        )
    return path


def exclusion_notes(settings: PreprocessSettings, rows: Sequence[SlideRow]) -> tuple[str, ...]:
    """What to know of the files of `exclude_regions`, a line each.

    No slide needs one, so that a wrong name would go unseen.

    Args:
        settings: Of the run.
        rows: Its slides.
    """
    folder = settings.exclude_regions
    if folder is None:
        return ()
    used = set()
    for row in rows:
        with suppress(SlideError):  # which is the failure of that slide
            used.add(find_region_file(folder, row.slide_id, name_of_slide(row.slide_path)))
    used -= {None}
    notes = [f"--exclude-regions holds a file for {len(used)} of {count_of('slide', len(rows))}"]
    if not used:
        notes = [f"warning: {notes[0]}; expected names: {_FILES}"]
    others = sorted(
        path.name for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path not in used
    )
    if others:
        notes.append(
            f"{count_of('file', len(others))} of --exclude-regions without a slide of this run: "
            f"{name_some(others, most=3)}"
        )
    return tuple(notes)


def notes_on_regions(regions: ChosenRegions | None, tile_set: TileSet) -> tuple[str, ...]:
    """What to know of the regions of one slide, a clause each."""
    if regions is None or tile_set.regions is None:
        return ()
    empty = [name for name, count in tile_set.regions.counts().items() if not count]
    left_out = f"no tile lies in {name_some(empty)}"
    return (*regions.notes, *((left_out,) if empty else ()))


def region_notes(settings: PreprocessSettings, outcomes: Sequence[SlideOutcome]) -> tuple[str, ...]:
    """What to know of the regions of a cohort, a line each.

    Args:
        settings: Of the run.
        outcomes: Of its slides; their values are tiles by region.
    """
    by_slide = [dict(outcome.value) for outcome in outcomes if outcome.value]
    if settings.regions is None or not by_slide:
        return ()
    tiles, slides = Counter[str](), Counter[str]()
    for counts in by_slide:
        tiles.update(counts)
        slides.update(counts.keys())
    if settings.region_by != "class":
        noun = "core" if settings.region_by == "core" else "region"
        return (
            f"{count_of('tile', tiles.total())} in {count_of(noun, slides.total())} of "
            f"{count_of('slide', len(by_slide))}",
        )
    found = [f"{name} {tiles[name]} ({count_of('slide', slides[name])})" for name in sorted(tiles)]
    notes = [f"tiles by class: {name_some(found, most=20)}"]
    nowhere = sorted(set(settings.region_classes or ()) - tiles.keys())
    if nowhere:
        notes.append(
            f"warning: no slide has a region of the class {name_some(map(repr, nowhere))}; check "
            "the spelling of --region-classes"
        )
    return tuple(notes)
