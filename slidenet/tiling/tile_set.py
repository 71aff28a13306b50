"""From tissue to the tiles of a slide."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field

import numpy as np

from slidenet.core import status
from slidenet.core.arrays import BoolArray, IntArray, UInt8Array
from slidenet.core.checks import check_share
from slidenet.core.errors import EmptyTissueError
from slidenet.core.provenance import INPUTS_KEY, Identity
from slidenet.core.records import BLENDED_READING, TileGeometry, TileSet
from slidenet.core.text import name_some
from slidenet.slides import Slide, none_readable, plan_tiles, read_tiles
from slidenet.slides.resampling import resized
from slidenet.tiling.filters import BlankFilter, TileFilter
from slidenet.tiling.grid import grid, tissue_fractions
from slidenet.tiling.region_shares import regions_of_tiles
from slidenet.tissue import ChosenRegions, Tissue, check_placed

TILING_VERSION = 1
"""Raised when the same settings would choose other tiles."""

BATCH_TILES = 64
NUM_READERS = 4
MIN_VIEW_PX = 16
_PROBES = 8

DEFAULT_FILTERS: tuple[TileFilter, ...] = (BlankFilter(),)


@dataclass(frozen=True, slots=True)
class TilingReport:
    """How many tiles every step left.

    Attributes:
        in_grid: Tiles of the whole lattice.
        on_tissue: Of these, tiles with enough tissue.
        in_regions: Of these, tiles that lie enough in a drawn region; None where none were asked
            for.
        dropped: Tiles each filter dropped, by its name, in the order they were applied.
        unreadable: Tiles no filter could see, since they are damaged or nothing is stored for them;
            they are kept, and the encoder records them.
        kept: Tiles in the tile set.
        by_region: How many of these lie in each region; empty where no regions were asked for.
        damaged: int64 (N, 2), corners of kept tiles that are known to be damaged, level-0 pixels:
            they were looked at on the level they are read from.
        reason: Why the first tile that could not be read could not.
    """

    in_grid: int
    on_tissue: int
    in_regions: int | None
    dropped: tuple[tuple[str, int], ...]
    unreadable: int
    kept: int
    by_region: tuple[tuple[str, int], ...]
    damaged: IntArray = field(repr=False, compare=False)
    reason: str | None = None

    def __str__(self) -> str:
        dropped = "".join(f", -{count} {name}" for name, count in self.dropped if count)
        kept = f"{self.kept} kept"
        if self.unreadable:
            kept += f" ({self.unreadable} of them not readable)"
        inside = "" if self.in_regions is None else f", {self.in_regions} in regions"
        if self.kept and self.by_region:
            most = sorted(self.by_region, key=lambda pair: -pair[1])
            kept += f" ({name_some(f'{count} {name}' for name, count in most)})"
        return f"{self.in_grid} in grid, {self.on_tissue} on tissue{inside}{dropped}, {kept}"


def choose_tiles(
    slide: Slide,
    tissue: Tissue,
    geometry: TileGeometry,
    *,
    slide_id: str,
    min_tissue_fraction: float = 0.1,
    filters: Sequence[TileFilter] = DEFAULT_FILTERS,
    reader: Identity | None = None,
    regions: ChosenRegions | None = None,
    min_region_fraction: float = 0.1,
    stride_asked: bool = True,
) -> tuple[TileSet, TilingReport]:
    """The tiles of a slide that hold tissue, lie in a region and pass every filter.

    Filters that look at a low resolution go first; among equals the given order holds. A tile
    that cannot be read is kept, so that its loss is recorded once, by the tile encoder; what a low
    resolution cannot show is looked at in the tile's own pixels. At least one tile that is kept has
    been read.

    Args:
        slide: The open slide.
        tissue: Its tissue.
        geometry: Its tiles, from `plan_tiles`.
        slide_id: Id of the slide in the cohort.
        min_tissue_fraction: Least share of a tile that is tissue, in [0, 1]. With 0 every tile
            that touches tissue is kept.
        filters: What to drop; a tile must pass all of them.
        reader: Name and origin of the slide reader, where the user named one; for the identity.
        regions: What tiles are to lie in; None: anywhere.
        min_region_fraction: Least share of a tile that lies in one region, in [0, 1]. With 0 every
            tile that touches one is kept.
        stride_asked: Whether the stride was asked for, or only found in the places of tile images.

    Returns:
        The tile set, sorted by y, then x, and how many tiles every step left.

    Raises:
        EmptyTissueError: No tile is left.
        UnreadableSlideError: None of the tiles that are left can be read.
        SlideError: The slide is smaller than a tile.
        ConfigError: `min_tissue_fraction` or `min_region_fraction` is no share.
    """
    check_share(min_tissue_fraction=min_tissue_fraction, min_region_fraction=min_region_fraction)
    cut = slide.cut_tiles
    coords = grid(geometry, slide=slide_id) if cut is None else cut.coords
    in_grid = len(coords)
    side = geometry.tile_size_px * geometry.scale
    fraction = tissue_fractions(tissue, coords, side)
    enough = (fraction >= np.float32(min_tissue_fraction)) & (fraction > 0)
    coords, fraction = coords[enough], fraction[enough]
    on_tissue, in_regions, lies_in = len(coords), None, None
    if regions is not None:
        check_placed(slide, "--regions")
        inside, lies_in = regions_of_tiles(regions, coords, side, min_share=min_region_fraction)
        coords, fraction = coords[inside], fraction[inside]
        in_regions = len(coords)
    elif cut is not None and cut.regions is not None:
        lies_in = cut.regions.take(enough)
    kept, dropped, codes, reason = _filtered(slide, geometry, coords, filters)
    seen, damaged = (codes == code for code in (status.OK, status.UNREADABLE))
    lies_in = None if lies_in is None else lies_in.take(kept)
    report = TilingReport(
        in_grid,
        on_tissue,
        in_regions,
        dropped,
        int((damaged | (codes == status.EMPTY)).sum()),
        int(kept.sum()),
        () if lies_in is None else tuple(lies_in.counts().items()),
        coords[kept & damaged],
        reason,
    )
    if not report.kept:
        and_region = flag = ""
        if in_regions is not None:
            and_region = f" and {min_region_fraction:.0%} of one region"
            flag = " or --min-region-fraction"
        raise EmptyTissueError(
            f"no tile is left ({report}); tissue covers {tissue.fraction:.2%} of the slide",
            expected=f"tiles with at least {min_tissue_fraction:.0%} tissue{and_region} that pass "
            "the filters",
            remedy=f"lower --min-tissue-fraction{flag} (in Python, min_tissue_fraction), drop a "
            "filter, or take another --segmenter",
            slide=slide_id,
        )
    if not seen[kept].any():
        _check_any_readable(slide, geometry, coords[kept])
    tile_set = TileSet(
        slide_id=slide_id,
        slide_path=str(slide.path),
        fingerprint=slide.fingerprint,
        geometry=geometry,
        coords=coords[kept],
        tissue_fraction=fraction[kept],
        identity=tiling_identity(
            geometry,
            tissue.identity,
            icc=slide.icc_applied,
            min_tissue_fraction=min_tissue_fraction,
            filters=filters,
            reader=reader,
            regions=regions,
            min_region_fraction=min_region_fraction,
            stride_asked=stride_asked,
        ),
        regions=lies_in,
        read_again=reason is not None,
    )
    return tile_set, report


def tiling_identity(
    geometry: TileGeometry,
    tissue_identity: Identity,
    *,
    icc: bool,
    min_tissue_fraction: float = 0.1,
    filters: Sequence[TileFilter] = DEFAULT_FILTERS,
    reader: Identity | None = None,
    regions: ChosenRegions | None = None,
    min_region_fraction: float = 0.1,
    stride_asked: bool = True,
) -> Identity:
    """The identity a tile set will carry, known before a pixel is read; resume relies on it.

    What was asked for is the same for a whole cohort; what followed for this slide is an input.
    """
    asked = ("target_mpp", "tile_size_px", "stride_px")
    how = ("reading", "shrinking")
    left_out = (*asked, *how, *(["tile_frame"] if geometry.tile_frame is None else []))
    of_this_slide = {k: v for k, v in asdict(geometry).items() if k not in left_out}
    if not stride_asked:
        of_this_slide["stride_px"] = geometry.stride_px
    # Left out where they are as in version 1, so that its identities stay equal.
    read = {
        name: getattr(geometry, name)
        for name, as_before in (("reading", BLENDED_READING), ("shrinking", "area"))
        if getattr(geometry, name) != as_before
    }
    return {
        "tiling_version": TILING_VERSION,
        **{name: getattr(geometry, name) for name in asked},
        **({} if stride_asked else {"stride_px": None}),
        **read,
        INPUTS_KEY: of_this_slide,
        "icc": icc,
        "tissue": tissue_identity,
        "min_tissue_fraction": min_tissue_fraction,
        "filters": [tile_filter.identity() for tile_filter in filters],
        **({} if reader is None else {"reader": reader}),
        # Left out where none were asked for, as in files that know no regions.
        **(
            {}
            if regions is None
            else {"regions": {**regions.identity, "min_region_fraction": min_region_fraction}}
        ),
    }


NOT_ASKED = 255
"""In place of a status: no filter looked at the tile in the pixels it is read from."""


def _filtered(
    slide: Slide, geometry: TileGeometry, coords: IntArray, filters: Sequence[TileFilter]
) -> tuple[BoolArray, tuple[tuple[str, int], ...], UInt8Array, str | None]:
    """What the filters say.

    Returns:
        Which tiles pass; how many each filter dropped; what became of the tiles where they were
        looked at in the pixels they are read from (`core.status` or `NOT_ASKED`), or nothing is
        stored for them; and why the first tile could not be read on the level planned, if one could
        not.
    """
    views = [(_view(slide, geometry, f.view_mpp), f) for f in filters]
    views.sort(key=lambda pair: -pair[0].target_mpp)
    kept = np.ones(len(coords), dtype=np.bool_)
    codes = np.full(len(coords), NOT_ASKED, np.uint8)
    reason = None
    dropped: list[tuple[str, int]] = []
    for view in dict.fromkeys(view for view, _ in views):
        here = [tile_filter for its_view, tile_filter in views if its_view == view]
        counts = [0] * len(here)
        waiting = np.flatnonzero(kept)
        for batch in read_tiles(
            slide, view, coords[waiting], batch_size=BATCH_TILES, num_readers=NUM_READERS
        ):
            index = waiting[batch.start : batch.start + len(batch.status)]
            pixels, found = batch.pixels, batch.status
            hurt = found == status.UNREADABLE
            reason = reason or batch.reason
            own = np.full(len(index), view.level == geometry.level)
            if hurt.any() and view.level != geometry.level:
                pixels, found, own[hurt] = pixels.copy(), found.copy(), True
                pixels[hurt], found[hurt] = _own_pixels(slide, geometry, coords[index[hurt]], view)
            own |= found == status.EMPTY
            codes[index[own]] = found[own]
            readable = found == status.OK
            if not readable.any():
                continue
            index, tiles = index[readable], pixels[readable]
            for number, tile_filter in enumerate(here):
                passed = tile_filter.keep(tiles)
                counts[number] += int((~passed).sum())
                kept[index[~passed]] = False
                index, tiles = index[passed], tiles[passed]
        dropped += [(tile_filter.name, n) for tile_filter, n in zip(here, counts, strict=True)]
    return kept, tuple(dropped), codes, reason


def _own_pixels(
    slide: Slide, geometry: TileGeometry, coords: IntArray, view: TileGeometry
) -> tuple[UInt8Array, UInt8Array]:
    """Tiles as they will be read, at the size of a view whose level cannot show them."""
    size = (view.tile_size_px, view.tile_size_px)
    batches = read_tiles(slide, geometry, coords, batch_size=len(coords), num_readers=NUM_READERS)
    with closing(batches):
        tiles = next(batches)
    return np.stack([resized(one, size) for one in tiles.pixels]), tiles.status


def _check_any_readable(slide: Slide, geometry: TileGeometry, coords: IntArray) -> None:
    """Refuses tiles none of which can be read, where no filter has read one as the encoder will.

    Some all over the slide are asked first, one by one: of most slides the first can be read.

    Raises:
        UnreadableSlideError: With the decoder's reason.
    """
    reason = None
    some = np.unique(np.linspace(0, len(coords) - 1, _PROBES).astype(np.int64))
    for asked, size in ((coords[some], 1), (coords, BATCH_TILES)):
        batches = read_tiles(
            slide, geometry, asked, batch_size=size, num_readers=min(size, NUM_READERS)
        )
        with closing(batches):
            for batch in batches:
                if (batch.status == status.OK).any():
                    return
                reason = reason or batch.reason
    raise none_readable(len(coords), reason, slide=slide.path.name)


def _view(slide: Slide, geometry: TileGeometry, view_mpp: float | None) -> TileGeometry:
    """The same squares of the slide at the resolution a filter looks at."""
    side_um = geometry.tile_size_px * geometry.target_mpp
    mpp = min(view_mpp or 0.0, side_um / MIN_VIEW_PX)
    if mpp <= geometry.target_mpp:
        return geometry
    view_px = round(side_um / mpp)
    return plan_tiles(
        slide,
        target_mpp=side_um / view_px,
        tile_size_px=view_px,
        allow_upsampling=True,
        reading=geometry.reading,
        shrinking=geometry.shrinking,
    )
