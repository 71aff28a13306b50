"""The slides a verb is called with, however they are given."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from slidenet.core.errors import ManifestError, MissingMppError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of
from slidenet.slides import READERS, SLIDE_SUFFIXES
from slidenet.slides.tile_images.declaration import LEVEL0, TileDeclaration
from slidenet.slides.tile_images.listing import is_tile_folder, may_say_resolution
from slidenet.stores import read_manifest
from slidenet.stores.manifest.slide_ids import check_slide_ids, id_of_place
from slidenet.stores.objects import shown_uri, uri_of

Slides: TypeAlias = str | Path | Sequence[str | Path | SlideRow]
"""A manifest slides.csv, a folder of slides, one slide, several slides, or rows of a manifest."""


def rows_of(
    slides: Slides,
    *,
    reader: str | None = None,
    patient_column: str | None = None,
    recursive: bool = False,
) -> list[SlideRow]:
    """The slides as rows of a manifest.

    Args:
        slides: A manifest or folder is read (`read_manifest`); of slides given one by one the file
            name without its suffix is the `slide_id`.
        reader: Who will read them; its suffixes are what a folder is searched for.
        patient_column: Of a manifest, says whose slide it is; found by its name where not given.
        recursive: Of a folder, whether slides of its subfolders count, too.

    Raises:
        ManifestError: The manifest cannot be read, or two slides have the same `slide_id`.
    """
    if isinstance(slides, str | Path):
        suffixes = SLIDE_SUFFIXES if reader is None else READERS[reader].suffixes
        return read_manifest(
            uri_of(slides) or slides,
            suffixes=suffixes,
            patient_column=patient_column,
            recursive=recursive,
        )
    if recursive:
        raise ManifestError(
            "recursive is True, and slides are given one by one", expected="a folder of slides"
        )
    rows = [
        slide if isinstance(slide, SlideRow) else _row_of(uri_of(slide) or str(slide))
        for slide in slides
    ]
    places = [f"slide {number}, {shown_uri(row.slide_path)}" for number, row in enumerate(rows, 1)]
    check_slide_ids(rows, places, error=ManifestError)
    return rows


def _row_of(slide_path: str) -> SlideRow:
    return SlideRow(id_of_place(slide_path), slide_path)


def check_tile_folders(rows: Sequence[SlideRow], declared: TileDeclaration) -> None:
    """Refuses what is declared of tile images where no slide is a folder of them.

    The folder of one slide's tiles, given as a cohort, is as many slides of one image each.

    Args:
        rows: The slides.
        declared: What is declared of all of them.

    Raises:
        ManifestError: Naming the first slide.
    """
    flags = {"--tile-mpp": declared.tile_mpp, "--tile-frame": declared.frame}
    given = [flag for flag, value in flags.items() if value is not None]
    paths = [Path(row.slide_path) for row in rows]
    if not (given and paths) or any(is_tile_folder(path) for path in paths):
        return
    raise ManifestError(
        f"{' and '.join(given)} is given, and none of the {len(rows)} slides is a folder of tile "
        f"images (first: {shown_uri(rows[0].slide_path)})",
        expected="the folder that holds a folder of tiles per slide",
        remedy="give the folder above as --slides, or a slides.csv whose slide_path is the folder "
        "of a slide's tiles",
    )


def check_tile_resolutions(
    rows: Sequence[SlideRow], declared: Callable[[SlideRow], TileDeclaration], mpp: float | None
) -> None:
    """Refuses folders of tile images that all lack a resolution: once, before the first slide.

    Args:
        rows: The slides.
        declared: What is declared of the images of one of them.
        mpp: Of level 0 of all of them, where it is given.

    Raises:
        MissingMppError: Naming the first folder.
    """
    if not rows or mpp is not None or any(row.mpp is not None for row in rows):
        return
    images = [declared(row) for row in rows]
    flags = []
    if all(one.frame == LEVEL0 for one in images):
        flags.append("--mpp (of level 0)")
    if all(one.tile_mpp is None for one in images):
        flags.append("--tile-mpp (of the images)")
    paths = [Path(row.slide_path) for row in rows]
    if not flags or not all(
        is_tile_folder(path) and not may_say_resolution(path) for path in paths
    ):
        return
    raise MissingMppError(
        f"nothing says the microns per pixel of {count_of('folder', len(paths))} of tile images "
        f"(first: {paths[0]})",
        expected="the resolution the tiles were cut at",
        remedy=f"give {' and '.join(flags)}, or fill their columns in slides.csv; if the images in "
        "them are slides themselves, pass --recursive with the folder above",
    )
