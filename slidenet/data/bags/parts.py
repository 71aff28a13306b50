"""Parts of slides as bags of their own: drawn regions, tissue cores, single tiles.

A part is called `{slide_id}:{region}`, a tile `{slide_id}:{x}_{y}` by its corner; no slide_id holds
a colon. All parts of a slide belong to its patient, or, where none is known, to a patient with the
name of the slide: no split can part them.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slidenet.core import status
from slidenet.core.errors import ConfigError, LabelError, StoreError
from slidenet.core.text import name_some
from slidenet.data.labels.table import REGION_COLUMN, LabelTable
from slidenet.data.splits.record import SPLIT_NAMES, Split
from slidenet.stores import FeatureFile, part_of

SEPARATOR = ":"
PART_BAGS = ("region", "core", "tile")
"""Bags that are parts of slides."""

MAX_TILE_BAGS = 500_000
"""Bags of single tiles take about 1 KB of memory each, before any feature is read."""


@dataclass(frozen=True, slots=True)
class DividingRule:
    """How slides are cut into bags.

    Attributes:
        kind: What is a bag, of `PART_BAGS`; cores are regions that were told apart as such.
        min_region_share: Tiles with a smaller share in their region are left out.
        tiles_per_slide: Of each slide as many tiles are drawn at most; None for all.
        seed: Decides which tiles are drawn.
    """

    kind: str
    min_region_share: float
    tiles_per_slide: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SlidePart:
    """One bag of a slide.

    Attributes:
        name: Its bag_id.
        region: The region it lies in; "" for tiles of files without regions.
        file: Its tiles as a features file.
    """

    name: str
    region: str
    file: FeatureFile


def divide_file(file: FeatureFile, rule: DividingRule) -> list[SlidePart]:
    """The bags of one slide; regions in the order of their names in the file, tiles in theirs.

    What holds no readable tile is no bag.

    Args:
        file: The features of the whole slide.
        rule: How it is cut.

    Raises:
        StoreError: The file says no regions, and regions are asked for; or it is not sound.
    """
    with file:
        regions, codes = file.regions, file.status
        coords = file.coords if rule.kind == "tile" else None
    if rule.kind == "core" and regions is not None and regions.by != "core":
        raise StoreError(
            f"{file.path} has regions told apart by {regions.by}, not by core",
            expected="features of tiles that were cut with --regions and --region-by core",
            remedy="train with --data.bag region, or cut the tiles by core into a new output "
            "folder",
            slide=file.slide_id,
        )
    if regions is None and rule.kind != "tile":
        raise StoreError(
            f"{file.path} does not say in which region its tiles lie",
            expected="features of tiles that were cut with --regions",
            remedy="run preprocess with --regions FOLDER into a new output folder and embed-tiles "
            "after it, or train with --data.bag slide",
            slide=file.slide_id,
        )
    enough = np.ones(len(codes), np.bool_)
    names: Sequence[str] = ("",)
    index = np.zeros(len(codes), np.uint16)
    if regions is not None:
        enough, names, index = (
            regions.share >= np.float32(rule.min_region_share),
            regions.names,
            regions.index,
        )
    readable = codes == status.OK
    if coords is None:  # a region, or a tile, that could not be read teaches nothing
        found = [(name, np.flatnonzero((index == i) & enough)) for i, name in enumerate(names)]
        keys = [(name, name, rows) for name, rows in found if readable[rows].any()]
    else:
        rows = np.flatnonzero(enough & readable)
        if rule.tiles_per_slide is not None and len(rows) > rule.tiles_per_slide:
            rng = np.random.default_rng([rule.seed, zlib.crc32(file.slide_id.encode())])
            rows = np.sort(rng.choice(rows, rule.tiles_per_slide, replace=False))
        keys = [
            (f"{x}_{y}", names[index[row]], np.array([row]))
            for row, (x, y) in zip(rows, coords[rows], strict=True)
        ]
    return [
        SlidePart(
            bag_id := f"{file.slide_id}{SEPARATOR}{key}", region, part_of(file, rows, bag_id, codes)
        )
        for key, region, rows in keys
    ]


def divide_cohort(
    slides: LabelTable,
    regions: LabelTable | None,
    files: Mapping[str, FeatureFile],
    rule: DividingRule,
    *,
    allow_missing: bool = False,
) -> tuple[LabelTable, dict[str, FeatureFile]]:
    """The bags of all slides, as rows of a table and as files.

    A bag takes its labels from the row of its region where there are such rows, else from its
    slide's; a column `region` says the region in any case.

    Args:
        slides: A row per slide.
        regions: A row per region (`read_region_table`); None where there are none. Regions without
            a row are left out.
        files: The features of slides.
        rule: How slides are cut.
        allow_missing: Whether rows without tiles are left out; refused otherwise.

    Raises:
        LabelError: No bag is left, or a region that a row names has no tile.
        StoreError: A file does not say its regions, or is not sound.
        ConfigError: There are more tiles than can be bags.
    """
    rows, lines, parts = [], [], {}
    absent = set() if regions is None else set(regions.slide_ids)
    for slide in slides.rows:
        if slide.slide_id not in files:
            continue
        for part in divide_file(files[slide.slide_id], rule):
            row, line = slide, slides.lines[slides.index[slide.slide_id]]
            if regions is not None:
                name = f"{slide.slide_id}{SEPARATOR}{part.region}"
                if name not in regions.index:
                    continue
                absent.discard(name)
                row, line = regions.row(name), regions.lines[regions.index[name]]
            labels = {**row.labels, REGION_COLUMN: part.region}
            patient = slide.patient_id or slide.slide_id
            rows.append(replace(row, slide_id=part.name, patient_id=patient, labels=labels))
            lines.append(line)
            parts[part.name] = part.file
        if len(parts) > MAX_TILE_BAGS:
            raise ConfigError(
                f"more than {MAX_TILE_BAGS:,} bags of single tiles",
                expected=f"at most {MAX_TILE_BAGS:,}",
                remedy="draw fewer with --data.tiles-per-slide",
            )
    absent = {name for name in absent if name.partition(SEPARATOR)[0] in files}
    if not rows or (absent and not allow_missing):
        of_slide = (
            files[min(absent).partition(SEPARATOR)[0]] if absent else next(iter(files.values()))
        )
        raise LabelError(
            f"{slides.path}: {len(absent)} rows name a region without readable tiles: "
            f"{name_some(sorted(absent))}"
            if absent
            else f"{slides.path}: no slide has a tile that lies enough in a region",
            expected=f"regions that hold tiles; those of {of_slide.slide_id!r} are "
            f"{name_some(of_slide.region_names)}",
            remedy="correct the column region (rename it if it means something else), lower "
            "--data.min-region-share"
            + (", or leave such rows out with --data.allow-missing" if rows else ""),
        )
    columns = tuple(dict.fromkeys((*slides.columns, REGION_COLUMN)))
    return LabelTable(slides.path, columns, tuple(rows), tuple(lines), slides.patient_column), parts


def split_parts(split: Split, table: LabelTable, slides: LabelTable) -> Split:
    """A split of slides as one of their bags; names of bags, and of nobody, stay as they are.

    Args:
        split: By slide_id or by bag_id.
        table: A row per bag.
        slides: A row per slide; those without a bag drop out.
    """
    parts: dict[str, list[str]] = {slide_id: [] for slide_id in slides.slide_ids}
    for bag_id in table.slide_ids:
        parts[bag_id.partition(SEPARATOR)[0]].append(bag_id)
    divided = {
        name: tuple(bag for s in split.slides(name) for bag in parts.get(s, [s]))
        for name in SPLIT_NAMES
    }
    return Split(**divided)


def split_slides(split: Split) -> Split:
    """The split of slides that a split of their bags makes."""
    return Split(
        **{
            name: tuple(dict.fromkeys(b.partition(SEPARATOR)[0] for b in split.slides(name)))
            for name in SPLIT_NAMES
        }
    )
