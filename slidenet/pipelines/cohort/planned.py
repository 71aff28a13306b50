"""Slides whose tiles were chosen before: the tile set of each, and the slide opened for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from slidenet.core.errors import StoreError
from slidenet.core.records import SlideRow, TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.objects.staging import slide_file
from slidenet.slides import Slide, open_slide
from slidenet.slides.geometry import check_true_level
from slidenet.slides.resolution import OVERRIDE, source_in_words
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.stores import read_tile_set
from slidenet.stores.h5.validate import check_name


def planned_tiles(layout: OutputLayout, row: SlideRow, reader: str | None) -> TileSet:
    """The tile set that `slidenet preprocess` made of a slide.

    Args:
        layout: Paths of the output folder.
        row: The slide.
        reader: Who is to read it now.

    Raises:
        StoreError: There is none, it is broken, or it was made with another reader.
    """
    path = layout.tiles(row.slide_id)
    if not path.is_file():
        raise StoreError(
            f"there is no {path}",
            expected="the tiles of this slide",
            remedy="run `slidenet preprocess` with the same --slides and --out first",
            slide=row.slide_id,
        )
    tile_set = read_tile_set(path)
    check_name(path, tile_set.slide_id)
    made_with = tile_set.identity.get("reader")
    name = made_with.get("name") if isinstance(made_with, Mapping) else None
    if not isinstance(tile_set.identity.get("icc"), bool):
        raise StoreError(
            f"{path} does not say whether colours were corrected by the scanner's profile (icc)",
            remedy="make the tiles again: `slidenet preprocess --overwrite`",
            slide=row.slide_id,
        )
    if name != reader:
        now = f" --reader {reader}" if reader else ""
        raise StoreError(
            f"--reader {reader} is given" if reader else "no --reader is given",
            expected=f"{f'--reader {name}' if name else 'none'}, as when {path} was made",
            remedy=(f"give --reader {name}" if name else "leave out --reader")
            + f", or make the tiles again: `slidenet preprocess --overwrite{now}`",
            slide=row.slide_id,
        )
    return tile_set


@contextmanager
def open_planned(
    row: SlideRow, tile_set: TileSet, reader: str | None, how_to_open: Mapping[str, Any]
) -> Iterator[Slide]:
    """The slide of a tile set, opened as it was when its tiles were chosen.

    Args:
        row: The slide.
        tile_set: Its tiles.
        reader: Who reads it.
        how_to_open: Further keywords of `open_slide`.

    Raises:
        StoreError: It is another slide now, or of another resolution.
        UnreadableSlideError: It cannot be opened, or has another SHA-256 than the manifest says.
        ObjectStoreError: Its object is not there, or may not be read.
    """
    planned, frame = tile_set.geometry.slide_mpp, tile_set.geometry.tile_frame
    with (
        slide_file(row) as file,
        open_slide(
            file.path,
            mpp=row.declared_mpp(planned.value if planned.source == OVERRIDE else None),
            icc=tile_set.identity["icc"] is True,
            reader=reader,
            tiles=None if frame is None else TileDeclaration(tile_set.geometry.target_mpp, frame),
            **how_to_open,
        ) as slide,
    ):
        _check_same_slide(slide, tile_set)
        yield slide


def _check_same_slide(slide: Slide, tile_set: TileSet) -> None:
    check_true_level(slide, tile_set.geometry.level)
    if slide.fingerprint != tile_set.fingerprint:
        raise StoreError(
            f"{slide.path} is not the file its tiles were made from",
            expected=f"fingerprint {tile_set.fingerprint[:12]}..., found "
            f"{slide.fingerprint[:12]}...",
            remedy="run `slidenet preprocess --overwrite` for the changed slide",
            slide=tile_set.slide_id,
        )
    if slide.slide_mpp.value != tile_set.geometry.slide_mpp.value:
        raise StoreError(
            f"the slide now has {slide.slide_mpp.value} mpp "
            f"({source_in_words(slide.slide_mpp.source)})",
            expected=f"{tile_set.geometry.slide_mpp.value} mpp, as its tiles were made with",
            remedy="run `slidenet preprocess --overwrite` after changing the mpp column",
            slide=tile_set.slide_id,
        )
