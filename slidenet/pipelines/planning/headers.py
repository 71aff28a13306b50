"""What the header of a slide says, and why a slide will fail: the work on one slide of a survey."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidenet.core.errors import (
    MissingMppError,
    ObjectAwayError,
    ObjectStoreError,
    ResolutionError,
    SlideError,
    SlidenetError,
    UnreadableSlideError,
)
from slidenet.core.records import SlideRow, TileGeometry
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.objects.staging import slide_file
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides import Slide, open_slide
from slidenet.slides.fingerprint import companions
from slidenet.slides.resolution import source_in_words

KINDS: Mapping[type[SlidenetError], str] = {
    UnreadableSlideError: "cannot be read",
    ObjectStoreError: "cannot be had from their store",
    ObjectAwayError: "cannot be had from their store",
    MissingMppError: "no microns per pixel",
    ResolutionError: "coarser than the tiles asked for",
    SlideError: "cannot be cut into tiles",
}
"""Why slides fail, the first that fits."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a slide says of itself.

    Attributes:
        slide_id: The slide.
        num_bytes: Of the slide with its companions.
        num_files: How many files it is made of.
        format: openslide's name of it, or that of flat images.
        reader: Who reads it.
        mpp_source: What its resolution was taken from, in words; "" where it is not known.
        lattice: Tiles that lie wholly inside the slide, tissue or not.
        problem: Why it will fail, one of `KINDS`; None where nothing speaks against it.
        detail: The error on one line; "" where there is none.
        remedy: What the user can do about it.
    """

    slide_id: str
    num_bytes: int = 0
    num_files: int = 1
    format: str = ""
    reader: str = ""
    mpp_source: str = ""
    lattice: int = 0
    problem: str | None = None
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class HeaderWork(SlideWork):
    """Opens a slide and asks what it is; three slides at the same time.

    Attributes:
        layout: Of no use; nothing is written.
        tiler: How the slide is to be cut.
    """

    reads_ahead = True
    layout: OutputLayout
    tiler: Tiler

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """The header of one slide as `SlideResult.value`; a slide that will fail has one, too."""
        progress.next_slide_may_start()
        asked = self.tiler.settings
        facts: dict[str, Any] = {}
        try:
            with (
                slide_file(replace(row, sha256=None)) as file,  # which would read all of it
                open_slide(
                    file.path,
                    mpp=row.declared_mpp(asked.mpp),
                    icc=asked.icc,
                    reader=asked.reader,
                    tiles=asked.declared_tiles(row),
                    **asked.how_to_open(),
                ) as slide,
            ):
                sizes = list(file_sizes(file.path, slide))
                facts = {"num_bytes": sum(sizes), "num_files": len(sizes)}
                facts |= {"format": slide.vendor, "reader": slide.reader_name}
                facts["mpp_source"] = source_in_words(slide.slide_mpp.source)
                facts["lattice"] = lattice_of(slide, self.tiler.geometry(slide))
        except SlidenetError as error:
            facts |= {"problem": kind_of(error), "detail": error.found, "remedy": error.remedy}
            facts.setdefault("num_bytes", plain_size(Path(row.slide_path)) or 0)
        return SlideResult(Path(row.slide_path), "", value=Header(row.slide_id, **facts))


def kind_of(error: SlidenetError) -> str:
    """Why a slide fails, in the words of `KINDS`."""
    return next((word for kind, word in KINDS.items() if isinstance(error, kind)), "fails")


def lattice_of(slide: Slide, geometry: TileGeometry) -> int:
    """Tiles of the whole slide, as `tiling.grid` lays them, or those of a folder of tile images."""
    if slide.cut_tiles is not None:
        return len(slide.cut_tiles.coords)
    side, stride = geometry.tile_size_level0, geometry.stride_level0
    sizes = (geometry.level0_width, geometry.level0_height)
    columns, rows = (int((size - side) / stride) + 1 if size >= side else 0 for size in sizes)
    return columns * rows


def file_sizes(path: Path, slide: Slide) -> Iterator[int]:
    """Bytes of each file of an open slide."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield from (os.stat(os.path.join(folder, name)).st_size for name in names)
        return
    yield path.stat().st_size
    series = slide.properties.get("dicom.SeriesInstanceUID")
    for _, companion in companions(path, series):
        yield companion.stat().st_size


def plain_size(path: Path) -> int | None:
    """Bytes of a file; None where it cannot be asked or is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
