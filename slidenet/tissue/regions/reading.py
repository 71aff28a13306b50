"""Region files to regions of a slide: read, placed in level-0 pixels, and cut to the slide."""

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import Polygon, box

from slidenet.core.checks import check_choice
from slidenet.core.errors import SlideError
from slidenet.core.provenance import identity_hash
from slidenet.core.text import count_of
from slidenet.slides import Slide
from slidenet.tissue.regions.asap import parse_asap
from slidenet.tissue.regions.classes import belongs_to, class_excludes, is_named
from slidenet.tissue.regions.contents import is_xml, read_contents
from slidenet.tissue.regions.frames import frame_notes, moved, origin_of
from slidenet.tissue.regions.geojson import parse_geojson
from slidenet.tissue.regions.records import FRAMES, Frame, Region, RegionSet

MOST_EXITS = 20_000
"""So often all outlines of a file may cross the edge of the slide: each time is a piece more."""


def read_regions(
    path: str | os.PathLike[str],
    slide: Slide,
    *,
    frame: Frame = "qupath",
    exclude_classes: Collection[str] = (),
    wanted_classes: Collection[str] = (),
) -> RegionSet:
    """The regions of a file as they lie on the slide, without repetitions.

    Args:
        path: GeoJSON of QuPath or XML of ASAP, told apart by what they hold; packed with gzip or
            not.
        slide: The slide they were drawn on.
        frame: "qupath": as QuPath counts, from the corner of the slide's bounds; "level0": as it
            counts with --no-crop. A file that says its frame is read in that one, and ASAP always
            counts in level 0.
        exclude_classes: Classes that exclude besides those that say so themselves; with all that
            is derived from them, and in upper or lower case.
        wanted_classes: Classes the caller asks for by name: if they say that they exclude, they do
            not.

    Returns:
        Regions in level-0 pixels, cut to the slide; in the order of the file.

    Raises:
        SlideError: Not readable, a region is broken or crosses itself, or one lies outside the
            slide as if drawn on another. The message names it.
    """
    return cut_to_slide(
        place_regions(
            path,
            slide,
            frame=frame,
            exclude_classes=exclude_classes,
            wanted_classes=wanted_classes,
        ),
        slide,
        Path(path).name,
    )


def place_regions(
    path: str | os.PathLike[str],
    slide: Slide,
    *,
    frame: Frame = "qupath",
    exclude_classes: Collection[str] = (),
    wanted_classes: Collection[str] = (),
) -> RegionSet:
    """All regions of a file in level-0 pixels, as drawn: not cut, and repetitions are there.

    See `read_regions`.
    """
    check_choice(FRAMES, annotation_frame=frame)
    file = Path(path)
    content = read_contents(file)
    parse = parse_asap if is_xml(content) else parse_geojson
    parsed = parse(content, file.name)
    origin, notes = origin_of(parsed, slide, frame, file.name)
    regions = tuple(
        replace(
            region,
            polygon=moved(region.polygon, origin),
            excludes=region.excludes
            or is_named(region.classification, exclude_classes)
            or _class_excludes(region.classification, parsed.excluding_classes, wanted_classes),
        )
        for region in parsed.regions
    )
    if parsed.frame is None and not parsed.old_numbers:
        notes = (*notes, *frame_notes(regions, slide, frame))
    skipped = [count_of(what, number) for what, number in sorted(parsed.skipped.items()) if number]
    if skipped:
        notes = (*notes, f"{' and '.join(skipped)} skipped")
    shapes = [
        [hashlib.sha256(r.polygon.wkb).hexdigest(), r.classification, r.name, r.kind, r.excludes]
        for r in regions
    ]
    return RegionSet(regions, (*parsed.notes, *notes), identity_hash({"regions": shapes}))


def cut_to_slide(drawn: RegionSet, slide: Slide, name: str) -> RegionSet:
    """Without repetitions, and without what lies beyond the edges of the slide.

    Args:
        drawn: As drawn, level-0 pixels.
        slide: The slide.
        name: Of the file, for messages.

    Raises:
        SlideError: A region lies wholly outside the slide.
    """
    width, height = slide.level_dimensions[0]
    canvas = box(0, 0, width, height)
    seen: set[tuple[object, ...]] = set()
    found: list[Region] = []
    num_cut = num_repeated = num_exits = 0
    for region in drawn.regions:
        key = (region.polygon.wkb, region.classification, region.name, region.kind)
        if key in seen:
            num_repeated += 1
            continue
        seen.add(key)
        left, top, right, bottom = region.polygon.bounds
        if left >= 0 and top >= 0 and right <= width and bottom <= height:
            found.append(region)
            continue
        num_exits += _exits(region.polygon, width, height)
        if num_exits > MOST_EXITS:
            raise SlideError(
                f"outlines of {name} cross the edge of the slide more than {MOST_EXITS:,} times",
                expected="regions drawn on this slide, in its full resolution",
                remedy="redraw them in QuPath",
                slide=slide.path.name,
            )
        parts = _areas(region.polygon.intersection(canvas))
        if not parts:
            raise _outside(region, slide, name)
        num_cut += 1
        found += [replace(region, polygon=part) for part in parts]
    notes = list(drawn.notes)
    if num_cut:
        notes.append(f"{count_of('region', num_cut)} cut at the edge of the slide")
    if num_repeated:
        notes.append(f"{count_of('region', num_repeated)} drawn twice, taken once")
    return RegionSet(tuple(found), tuple(notes), drawn.digest)


def _class_excludes(
    classification: str | None, of_file: Collection[str], wanted: Collection[str]
) -> bool:
    """Whether the class says so, and the caller has not asked for just that class by name."""

    def excludes(name: str | None) -> bool:
        return name in of_file or class_excludes(name)

    asked_for = any(excludes(name) and belongs_to(classification, name) for name in wanted)
    return excludes(classification) and not asked_for


def _exits(polygon: Polygon, width: int, height: int) -> int:
    """How often its outline passes from the slide to outside of it, or back."""
    points = shapely.get_coordinates(polygon)
    is_on = ((points >= 0) & (points <= (width, height))).all(axis=1)
    return int(np.count_nonzero(is_on[1:] != is_on[:-1]))


def _areas(geometry: shapely.Geometry) -> Sequence[Polygon]:
    return [
        part for part in shapely.get_parts(geometry) if isinstance(part, Polygon) and part.area > 0
    ]


def _outside(region: Region, slide: Slide, name: str) -> SlideError:
    width, height = slide.level_dimensions[0]
    left, top, right, bottom = region.polygon.bounds
    return SlideError(
        f"{region} of {name} covers nothing of the slide, which is {width} x {height} level-0 "
        f"pixels; it spans x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f}",
        expected="regions drawn on this slide, in its full resolution",
        remedy="check that the file belongs to this slide; if it was drawn with --no-crop, "
        "pass --annotation-frame level0; delete a region that was drawn beside the slide",
        slide=slide.path.name,
    )
