"""Which of the drawn regions count, by what name, and that no two of them claim one place."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from unicodedata import normalize

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from slidenet.core.errors import SlideError
from slidenet.core.provenance import INPUTS_KEY, Identity
from slidenet.core.records import RegionBy
from slidenet.core.text import count_of, name_some
from slidenet.slides import Slide
from slidenet.tissue.regions.classes import belongs_to
from slidenet.tissue.regions.overlaps import check_crossings, check_overlaps
from slidenet.tissue.regions.reading import read_regions
from slidenet.tissue.regions.records import Frame, Region, RegionSet

MOST_REGIONS = 2**16 - 1
"""As many as the file of tiles can tell apart."""

_MOST_COMPARED = 1000

Labelled = list[tuple[str, Region]]


@dataclass(frozen=True, eq=False)
class ChosenRegions:
    """The regions of a slide that tiles are to lie in.

    Attributes:
        names: One per region, without repeats.
        shapes: Their areas, level-0 pixels: what is drawn under one name in one, without what is
            drawn out of it.
        by: What they are told apart by.
        identity: Every setting that chose them, and what is drawn on the slide.
        notes: What a user should know, a clause each.
    """

    names: tuple[str, ...]
    shapes: tuple[BaseGeometry, ...]
    by: RegionBy
    identity: Identity
    notes: tuple[str, ...] = ()


def drawn_regions(
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    by: RegionBy = "class",
    classes: Collection[str] | None = None,
    frame: Frame = "qupath",
    exclude_classes: Collection[str] = (),
) -> ChosenRegions:
    """The regions that a person drew on a slide.

    What is drawn under one name is one region, and what excludes is taken out of all of them.

    Args:
        slide: The slide they were drawn on.
        path: Their file, see `read_regions`.
        by: "class": one region per class; "name": one per name that a person gave; "core": one per
            core of a tissue microarray.
        classes: Only annotations of these classes, with classes derived from them; None: all.
        frame: See `read_regions`.
        exclude_classes: See `read_regions`.

    Raises:
        SlideError: The file cannot be used, nothing is chosen, two regions claim one place, or two
            cores have one name. The message names them.
    """
    classes = None if classes is None else [normalize("NFC", name) for name in classes]
    drawn = read_regions(
        path, slide, frame=frame, exclude_classes=exclude_classes, wanted_classes=classes or ()
    )
    identity: Identity = {
        "by": by,
        "classes": None if classes is None else sorted(set(classes)),
        "exclude_classes": sorted(set(exclude_classes)),
        INPUTS_KEY: {"regions": drawn.digest},
    }
    return choose_regions(
        drawn, by=by, classes=classes, file_name=Path(path).name, identity=identity
    )


def choose_regions(
    drawn: RegionSet,
    *,
    by: RegionBy,
    classes: Collection[str] | None,
    file_name: str,
    identity: Identity,
) -> ChosenRegions:
    """The regions among all that is drawn on a slide; see `drawn_regions`."""
    kind = "tma_core" if by == "core" else "annotation"
    pool = [region for region in drawn.included if region.kind == kind]
    if not pool:
        raise _nothing_drawn(drawn, by, file_name)
    if by == "core":
        labelled, notes = _cores(drawn, pool, file_name)
    else:
        labelled, notes = _annotations(pool, by, classes, file_name)
    polygons: dict[str, list[Polygon]] = {}
    for name, region in labelled:
        polygons.setdefault(name, []).append(region.polygon)
    if len(polygons) > MOST_REGIONS:
        raise SlideError(
            f"{file_name} holds {len(polygons)} regions told apart by {by}",
            expected=f"at most {MOST_REGIONS}",
            remedy="export only the annotations that are to be regions",
        )
    used = [region.polygon for _, region in labelled]
    check_crossings([*used, *(region.polygon for region in drawn.excluded)], file_name=file_name)
    excluded = np.array([region.polygon for region in drawn.excluded], dtype=object)
    tree = shapely.STRtree(excluded)
    areas: dict[str, BaseGeometry] = {}
    for name, parts in polygons.items():
        shape = shapely.union_all(parts)
        near = tree.query(shape, predicate="intersects")
        areas[name] = shapely.difference(shape, shapely.union_all(excluded[near]))
    gone = [name for name, shape in areas.items() if not shape.area]
    if gone:
        notes.append(f"nothing is left of {name_some(gone)}: drawn out")
    if len(gone) == len(areas):
        raise SlideError(
            f"{file_name}: {notes[-1]} by {count_of('region', len(excluded))}",
            expected="some area that is left",
            remedy="correct the regions that exclude (Ignore*, artefacts, --exclude-classes)",
        )
    areas = {name: shape for name, shape in areas.items() if name not in gone}
    notes += check_overlaps(areas, by=by, file_name=file_name)
    return ChosenRegions(tuple(areas), tuple(areas.values()), by, identity, (*drawn.notes, *notes))


def _annotations(
    pool: Sequence[Region],
    by: RegionBy,
    classes: Collection[str] | None,
    file_name: str,
) -> tuple[Labelled, list[str]]:
    """The annotations asked for, each with its class or name, and what to say of the others."""
    # The most particular class wins: "Tumor: Positive" before "Tumor".
    asked = sorted(classes or (), key=len, reverse=True)
    labelled: Labelled = []
    num_unnamed = 0
    for region in pool:
        its_class = region.classification
        if classes is not None:
            its_class = next((name for name in asked if belongs_to(its_class, name)), None)
            if its_class is None:
                continue
        label = its_class if by == "class" else region.name
        if label is None:
            num_unnamed += 1
        else:
            labelled.append((label, region))
    without = "a name" if by == "name" else "a class"
    if num_unnamed and not labelled:
        raise SlideError(
            f"none of the {count_of('region', num_unnamed)} of {file_name} has {without}",
            expected="regions that can be told apart by it",
            remedy=f"give them {without} in QuPath, or pass --region-by "
            f"{'class' if by == 'name' else 'name'}",
        )
    found = {region.classification for region in pool}
    there = name_some(sorted(map(repr, found - {None})), most=20) or "none"
    missing = [name for name in asked if not any(belongs_to(one, name) for one in found)]
    meant = _did_you_mean(missing, [one for one in found if one is not None])
    if not labelled:
        raise SlideError(
            f"{file_name} holds no region of the class {name_some(map(repr, sorted(missing)))}; "
            f"its classes: {there}",
            expected="at least one region of the classes asked for",
            remedy=f"{meant}name other --region-classes, or draw such regions",
        )
    notes = []
    if num_unnamed:
        notes.append(f"{count_of('region', num_unnamed)} without {without} left out")
    if missing:
        absent = name_some(map(repr, sorted(missing)))
        meant = meant.removesuffix(" If not, ")
        notes.append(f"no region of the class {absent} (there are {there}{meant and '; ' + meant})")
    if by == "class":
        labelled.sort(key=lambda pair: pair[0])
    else:
        classes_of: dict[str, set[str | None]] = {}
        for name, region in labelled:
            classes_of.setdefault(name, set()).add(region.classification)
        mixed = [repr(name) for name, its in classes_of.items() if len(its) > 1]
        if mixed:
            notes.append(f"regions of several classes are one, called {name_some(mixed)}")
    return labelled, notes


def _did_you_mean(missing: Sequence[str], classes: Sequence[str]) -> str:
    """The classes of a file that are nearly those asked for, as the start of a remedy."""
    spelled = {name.casefold(): name for name in sorted(classes)[:_MOST_COMPARED]}
    near = [
        repr(spelled[close])
        for name in missing
        for close in get_close_matches(name.casefold(), spelled, n=1)
    ]
    return f"did you mean {name_some(dict.fromkeys(near))}? If not, " if near else ""


def _cores(drawn: RegionSet, pool: Sequence[Region], file_name: str) -> tuple[Labelled, list[str]]:
    """The cores that are there, each with its name, and what to say of the others."""
    objects = dict.fromkeys(r.number for r in drawn.regions if r.kind == "tma_core")
    place = {number: count for count, number in enumerate(objects, start=1)}
    labelled = [(region.name or f"core {place[region.number]}", region) for region in pool]
    names: dict[str, int] = {}
    for name, region in labelled:
        if names.setdefault(name, region.number) != region.number:
            raise SlideError(
                f"two cores of {file_name} are called {name!r}",
                expected="one name for each core",
                remedy="relabel the grid in QuPath (TMA > Relabel TMA grid), then export it again",
            )
    notes = []
    nameless = dict.fromkeys(name for name, region in labelled if region.name is None)
    if nameless:
        notes.append(
            f"{count_of('core', len(nameless))} without a name called {name_some(nameless)}"
        )
    num_out = len(objects) - len(names)
    if num_out:
        notes.append(f"{count_of('core', num_out)} left out (missing or excluded)")
    return labelled, notes


def _nothing_drawn(drawn: RegionSet, by: RegionBy, file_name: str) -> SlideError:
    """The error for a file that holds nothing of the kind asked for."""
    held = {
        "core": {region.number for region in drawn.included if region.kind == "tma_core"},
        "annotation": {region.number for region in drawn.included if region.kind == "annotation"},
        "excluded region": {region.number for region in drawn.excluded},
    }
    counts = [count_of(what, len(objects)) for what, objects in held.items() if objects]
    if by == "core":
        remedy = "find the cores in QuPath (TMA > TMA dearrayer) and export them"
        other = "class" if held["annotation"] else ""
    else:
        remedy = "draw the regions in QuPath and export them as GeoJSON"
        other = "core" if held["core"] else ""
    return SlideError(
        f"{file_name} holds {' and '.join(counts) or 'no region'}"
        + "".join(f"; {note}" for note in drawn.notes),
        expected=f"at least one {'core' if by == 'core' else 'annotation'} that does not exclude",
        remedy=remedy + (f", or pass --region-by {other}" if other else ""),
    )
