"""From a folder of tile images to tiles with places in level-0 pixels of their slide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.core.errors import UnreadableSlideError
from slidenet.core.records import CutTiles, SlideMpp
from slidenet.core.text import count_of, name_some
from slidenet.core.units import Mpp
from slidenet.slides.protocol import Size
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tile_images.declaration import GRID, LEVEL0, NONE, TILE, TileDeclaration
from slidenet.slides.tile_images.deepzoom import DeepZoom
from slidenet.slides.tile_images.listing import FolderListing
from slidenet.slides.tile_images.names import NamedPlaces, places_in_names
from slidenet.slides.tile_images.record import RECORD_NAME, TileFolderRecord
from slidenet.slides.tile_images.resolution import Resolutions
from slidenet.slides.tile_images.sizes import check_one_size, image_sizes, tile_side
from slidenet.slides.tile_images.table import PlaceTable, find_place_table

_MAX_SIDE = 1 << 31


@dataclass(frozen=True, slots=True, eq=False)
class TileImages:
    """The tile images of one slide.

    Attributes:
        folder: Where they lie.
        names: Of the files, one per tile, in the order of `cut.coords`.
        cut: Where they lie on their slide.
        slide_mpp: Resolution of level 0, with what says so.
        level0_size: (width, height) of the slide; of what the tiles cover, where nothing says it.
        corners: int64 (N, 2), where in its image each tile begins; None: at (0, 0).
        said_by: Files of the folder that decide any of this, besides the images.
    """

    folder: Path
    names: tuple[str, ...]
    cut: CutTiles
    slide_mpp: SlideMpp
    level0_size: Size
    corners: IntArray | None = None
    said_by: tuple[Path, ...] = ()


def read_tile_images(
    path: Path, mpp: DeclaredMpp | None = None, declared: TileDeclaration | None = None
) -> TileImages:
    """Finds the tiles of a folder, and where they lie.

    Args:
        path: A folder of images, a .dzi, or the folder of one.
        mpp: Microns per pixel of level 0 of the slide they were cut from.
        declared: What is declared of the images; wins over what the folder says.

    Raises:
        UnreadableSlideError: The folder is no set of tiles of one slide; says what is wrong.
        MissingMppError: Nothing says the resolution.
    """
    declared = declared or TileDeclaration()
    listing = None if path.is_file() else FolderListing.of(path)
    picture = DeepZoom.at(path, listing)
    if picture is not None:
        return _of_deepzoom(picture, path, Resolutions.of(mpp, declared.tile_mpp, slide=path.name))
    assert listing is not None, "a file is a .dzi"
    record = TileFolderRecord.of_folder(path)
    table = find_place_table(path, listing.tables, listing.images)
    named, placing = None, table
    if table is not None and (table.places is None or declared.frame == NONE):
        placing = None
    if placing is None and declared.frame != NONE:
        stems = [Path(name).stem for name in listing.images]
        named = places_in_names(stems, slide=path.name)
    frame = _frame(declared, record, placing, named, listing, path.name)
    notes, names, xy = list[str](), listing.images, None
    if frame != NONE:
        names, xy = _placed(listing, placing, named, notes)
    unused = [name for name in listing.tables if table is None or name != table.path.name]
    if unused:
        files = count_of("CSV file", len(unused))
        notes.append(f"{files} without places or regions ({name_some(unused, most=2)})")
    if listing.num_others:
        notes.append(f"{count_of('other file', listing.num_others)} in the folder")
    sizes = image_sizes(path, names)
    side = tile_side(sizes, names, slide=path.name)
    cut = check_one_size(sizes, side, names, _at_edge(sizes, side, xy), slide=path.name)
    if cut:
        notes.append(f"{count_of('smaller tile', len(cut))} at the edge left out")
        kept = sorted(set(range(len(names))) - set(cut))
        names = tuple(names[i] for i in kept)
        xy = None if xy is None else xy[kept]
    resolutions = Resolutions.of(mpp, declared.tile_mpp, slide=path.name)
    if record is not None:
        resolutions = resolutions.or_else(record.slide_mpp, record.tile_mpp, RECORD_NAME)
    if table is not None:
        resolutions = resolutions.or_else(
            table.slide_mpp, table.declared.tile_mpp, "the CSV of its tiles"
        )
    if named is not None:
        resolutions = resolutions.with_names(named, side)
    slide_mpp, tile_mpp = resolutions.settled(needs_both=frame == LEVEL0)
    scale = tile_mpp / slide_mpp.value
    if xy is None:
        scale, slide_mpp = 1.0, SlideMpp(tile_mpp, slide_mpp.source)
        columns = math.isqrt(len(names) - 1) + 1
        numbers = np.arange(len(names), dtype=np.int64)
        coords = np.stack([numbers % columns, numbers // columns], axis=1) * side
    else:
        step = {LEVEL0: 1.0, GRID: side * scale}.get(frame, scale)
        coords = np.rint(xy * step).astype(np.int64)
        names, coords = _in_order(names, coords, path.name)
    footprint = side * scale
    covered = coords.max(axis=0) + max(1, math.ceil(footprint - 1e-6))
    if record is not None:
        covered = np.maximum(covered, (record.level0_width, record.level0_height))
    recorded = record is not None and record.tile_size_px == side
    if record is not None and recorded:
        stride = record.stride_px
    else:
        stride = max(1, round(_stride(coords, footprint) / scale))
    regions = None if table is None else table.regions_of(names)
    said_by = [] if record is None else [path / RECORD_NAME]
    said_by += [] if table is None else [table.path]
    return TileImages(
        folder=path,
        names=names,
        cut=CutTiles(
            coords,
            side,
            stride,
            tile_mpp,
            frame,
            tuple(notes),
            regions,
            stride_guessed=record.stride_guessed
            if record is not None and recorded
            else frame in (LEVEL0, TILE),
        ),
        slide_mpp=slide_mpp,
        level0_size=_checked_extent(covered, path.name),
        said_by=tuple(said_by),
    )


def _frame(
    declared: TileDeclaration,
    record: TileFolderRecord | None,
    table: PlaceTable | None,
    named: NamedPlaces | None,
    listing: FolderListing,
    slide: str,
) -> str:
    if not listing.images:
        raise UnreadableSlideError(
            "it is a folder without images",
            expected="tiles as PNG, JPEG or TIFF files",
            remedy="give the folder that holds the tiles themselves",
            slide=slide,
        )
    said = [
        declared.frame,
        None if record is None else record.frame,
        None if table is None else table.declared.frame,
        None if named is None else named.pattern.frame,
    ]
    frame = next((one for one in said if one is not None), None)
    if table is None and named is None:
        if frame in (None, NONE):
            return NONE
        raise UnreadableSlideError(
            f"no place can be read from the names of its {len(listing.images)} images (first "
            f"{listing.images[0]!r}), and no CSV says where they lie",
            expected="names that end in x and y, such as 1024_2048.png, or a CSV with the columns "
            "tile, x and y in the folder",
            remedy="add the CSV; or give --tile-frame none (in Python, tile_frame), which takes "
            "them without places",
            slide=slide,
        )
    if frame is None:
        xy = named.xy if named is not None else None if table is None else table.places
        assert xy, "one of the two says places"
        (x, y), *_ = xy
        where = table.path.name if table is not None else "the names of its images"
        raise UnreadableSlideError(
            f"{where} say where its tiles lie (first: {x:g}, {y:g}), and nothing says what these "
            "numbers count",
            expected="level0 (pixels of level 0 of the slide), tile (pixels of the tiles), grid "
            "(columns and rows), or none (no places)",
            remedy="give --tile-frame (in Python, tile_frame), or fill the column tile_frame of "
            "slides.csv",
            slide=slide,
        )
    return frame


def _placed(
    listing: FolderListing,
    table: PlaceTable | None,
    named: NamedPlaces | None,
    notes: list[str],
) -> tuple[tuple[str, ...], IntArray]:
    """The images that have a place, and their places in whatever frame."""
    if table is not None:
        names, xy = table.names, list(table.places or ())
        if table.num_missing:
            notes.append(
                f"{count_of('tile', table.num_missing)} of {table.path.name} not in the folder"
            )
    else:
        assert named is not None, "a frame was settled, so somebody says where tiles lie"
        names, xy = tuple(listing.images[i] for i in named.kept), list(named.xy)
    without = sorted(set(listing.images) - set(names))
    if without:
        notes.append(
            f"{count_of('image', len(without))} without a place left out "
            f"({name_some(without, most=2)})"
        )
    return names, np.array(xy, dtype=np.float64).astype(np.int64).reshape(-1, 2)


def _at_edge(
    sizes: Sequence[Size | None], side: int, xy: IntArray | None
) -> dict[int, tuple[bool, bool]]:
    if xy is None:
        return {}
    last_x, last_y = xy.max(axis=0)
    others = (i for i, size in enumerate(sizes) if size not in (None, (side, side)))
    return {i: (bool(xy[i, 0] == last_x), bool(xy[i, 1] == last_y)) for i in others}


def _in_order(
    names: tuple[str, ...], coords: IntArray, slide: str
) -> tuple[tuple[str, ...], IntArray]:
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    coords = coords[order]
    same = np.flatnonzero((np.diff(coords, axis=0) == 0).all(axis=1))
    if len(same):
        first, second = (names[order[same[0] + i]] for i in (0, 1))
        x, y = coords[same[0]]
        raise UnreadableSlideError(
            f"{first} and {second} lie at one place (x={x}, y={y} in level-0 pixels)"
            + (f", and so do {len(same) - 1} other pairs" if len(same) > 1 else ""),
            expected="one image per place",
            remedy="move one of them out of the folder, or correct --tile-frame",
            slide=slide,
        )
    return tuple(names[i] for i in order), coords


def _stride(coords: IntArray, footprint: float) -> float:
    """The step between neighbours in level-0 pixels: the tile's side, unless all fit another."""
    gaps = np.concatenate([np.diff(np.unique(coords[:, axis])) for axis in (0, 1)])
    for step in (footprint, float(gaps.min())) if len(gaps) else ():
        if step >= 1 and (np.abs(gaps - np.rint(gaps / step) * step) <= 1).all():
            return step
    return footprint


def _of_deepzoom(picture: DeepZoom, path: Path, resolutions: Resolutions) -> TileImages:
    level = picture.level_for(resolutions.mpp, resolutions.tile_mpp)
    scale = 2 ** (picture.top_level - level)
    slide_mpp, tile_mpp = resolutions.settled(needs_both=False)
    if resolutions.mpp is not None:  # what was given as tile_mpp may be rounded
        tile_mpp = Mpp(slide_mpp.value * scale)
    folder = picture.folder / str(level)
    listing, side = FolderListing.of(folder), picture.tile_size_px
    stems = [Path(name).stem for name in listing.images]
    named = places_in_names(stems, slide=path.name) if stems else None
    if named is None:
        raise UnreadableSlideError(
            f"{picture.folder.name}/{level} holds no tiles named COLUMN_ROW",
            expected="those of a DeepZoom picture",
            remedy="export the picture again",
            slide=path.name,
        )
    columns = np.array(named.xy, dtype=np.int64).reshape(-1, 2)
    size = np.array([-(-picture.width // scale), -(-picture.height // scale)])
    whole: BoolArray = np.all((columns + 1) * side <= size, axis=1)
    wanted = (size // side).prod()
    notes = []
    if not whole.any():
        raise UnreadableSlideError(
            f"level {level} of {picture.description.name} has no whole tile of {side} px",
            expected="a picture of at least one tile",
            remedy="export it with smaller tiles, or take a higher level",
            slide=path.name,
        )
    if (~whole).any():
        notes.append(f"{count_of('tile', int((~whole).sum()))} cut by the edge left out")
    if whole.sum() < wanted:
        notes.append(f"{count_of('tile', int(wanted - whole.sum()))} not in the folder")
    columns = columns[whole]
    names = tuple(
        listing.images[i] for i, kept in zip(named.kept, whole.tolist(), strict=True) if kept
    )
    names, coords = _in_order(names, columns * side * scale, path.name)
    return TileImages(
        folder=folder,
        names=names,
        cut=CutTiles(coords, side, side, tile_mpp, GRID, tuple(notes)),
        slide_mpp=slide_mpp,
        level0_size=(
            max(picture.width, int(coords[:, 0].max()) + side * scale),
            max(picture.height, int(coords[:, 1].max()) + side * scale),
        ),
        # Tiles of the first column and row have no neighbour to share pixels with.
        corners=np.where(coords > 0, picture.overlap_px, 0),
        said_by=(picture.description,),
    )


def _checked_extent(extent: IntArray, slide: str) -> Size:
    width, height = (int(side) for side in extent)
    if max(width, height) >= _MAX_SIDE:
        raise UnreadableSlideError(
            f"its tiles reach to x={width:,}, y={height:,} in level-0 pixels",
            expected=f"less than {_MAX_SIDE:,}",
            remedy="correct --tile-frame and --mpp",
            slide=slide,
        )
    return width, height
