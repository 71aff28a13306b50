from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import shapely

from slidenet.core.errors import ConfigError, EmptyTissueError, PixelReadError, SlideError
from slidenet.core.provenance import canonical_json, identity_hash
from slidenet.slides import open_slide, plan_tiles
from slidenet.tiling import (
    BlankFilter,
    BlurFilter,
    PenFilter,
    choose_tiles,
    tiling_identity,
)
from slidenet.tissue import ChosenRegions, Tissue, find_tissue

GLASS, PINK, INK = (244, 243, 246), (214, 150, 190), (40, 70, 190)


def picture(*boxes, shape=(96, 128)):
    image = np.full((*shape, 3), GLASS, np.uint8)
    for top, bottom, left, right, rgb in boxes:
        image[top:bottom, left:right] = rgb
    return image


@dataclass(frozen=True)
class SpyFilter:
    """Keeps what it is told to and remembers what it saw."""

    verdict: bool = True
    view_mpp: float | None = None
    seen: list = field(default_factory=list, compare=False)
    name: ClassVar[str] = "spy"

    def keep(self, tiles):
        self.seen.append(tiles.copy())
        return np.full(len(tiles), self.verdict)

    def identity(self):
        return {"filter": "spy"}


@pytest.fixture
def setup(flat_slide):
    """Slide of 4 x 3 tiles of 32 px at 1 mpp with tissue over two and a half columns."""

    def make(*boxes, mpp=1.0, target_mpp=1.0, tile_size_px=32, **planned):
        slide = flat_slide(picture((0, 96, 0, 80, PINK), *boxes), mpp=mpp)
        geometry = plan_tiles(slide, target_mpp=target_mpp, tile_size_px=tile_size_px, **planned)
        mask = np.zeros((12, 16), np.bool_)
        mask[:, :10] = True
        return slide, Tissue(mask, (8.0, 8.0), {"segmenter": "test"}), geometry

    return make


def test_tiles_with_enough_tissue_in_reading_order(setup):
    tile_set = choose_tiles(*setup(), slide_id="s", filters=())[0]
    assert tile_set.coords.tolist() == [[x, y] for y in (0, 32, 64) for x in (0, 32, 64)]
    np.testing.assert_array_equal(tile_set.tissue_fraction, np.float32([1, 1, 0.5] * 3))
    assert tile_set.slide_id == "s"
    assert tile_set.geometry.tile_size_px == 32


@pytest.mark.parametrize(("least", "columns"), [(0.0, 3), (0.1, 3), (0.5, 3), (0.51, 2), (1.0, 2)])
def test_the_least_fraction_counts_itself_in(setup, least, columns):
    tile_set = choose_tiles(*setup(), slide_id="s", min_tissue_fraction=least, filters=())[0]
    assert tile_set.num_tiles == 3 * columns


def test_every_filter_reports_what_it_dropped(setup):
    boxes = (0, 96, 0, 32, GLASS), (32, 64, 32, 64, INK)  # the mask still calls both tissue
    filters = (PenFilter(), BlankFilter())
    tile_set, report = choose_tiles(*setup(*boxes), slide_id="s", filters=filters)
    assert (report.in_grid, report.on_tissue, report.unreadable, report.kept) == (12, 9, 0, 5)
    assert report.dropped == (("pen", 1), ("blank", 3))
    assert str(report) == "12 in grid, 9 on tissue, -1 pen, -3 blank, 5 kept"
    assert tile_set.coords.tolist() == [[32, 0], [64, 0], [64, 32], [32, 64], [64, 64]]
    assert len(tile_set.tissue_fraction) == 5


def test_coarse_filters_go_first_and_fine_ones_see_only_what_is_left(setup):
    spy = SpyFilter()
    slide, tissue, geometry = setup((0, 96, 0, 32, GLASS))
    _, report = choose_tiles(
        slide, tissue, geometry, slide_id="s", filters=(spy, BlankFilter(view_mpp=2.0))
    )
    assert [name for name, _ in report.dropped] == ["blank", "spy"]
    (tiles,) = spy.seen
    assert tiles.shape == (6, 32, 32, 3)


@pytest.mark.parametrize(
    ("view_mpp", "view_px"), [(None, 32), (0.5, 32), (1.0, 32), (2.0, 16), (1.9, 17), (50.0, 16)]
)
def test_a_filter_sees_the_tile_at_the_resolution_it_asks_for(setup, view_mpp, view_px):
    spy = SpyFilter(view_mpp=view_mpp)
    choose_tiles(*setup((0, 32, 64, 96, INK)), slide_id="s", filters=(spy,))
    (tiles,) = spy.seen
    assert tiles.shape[1:] == (view_px, view_px, 3)
    third = tiles[2]
    np.testing.assert_array_equal(third, np.broadcast_to(np.uint8(INK), third.shape))


def test_filters_of_one_view_share_their_reads(setup, monkeypatch):
    slide, tissue, geometry = setup()
    reads = []
    original = type(slide).read_region
    monkeypatch.setattr(
        type(slide), "read_region", lambda self, *a: reads.append(a) or original(self, *a)
    )
    filters = (SpyFilter(view_mpp=2.0), SpyFilter(view_mpp=2.0), SpyFilter())
    choose_tiles(slide, tissue, geometry, slide_id="s", filters=filters)
    assert len(reads) == 2 * 9


def test_a_tile_no_filter_can_read_is_kept(setup, monkeypatch):
    slide, tissue, geometry = setup((0, 96, 0, 32, GLASS))
    original = type(slide).read_region

    def read(self, location, level, size):
        if location == (0, 32):
            raise PixelReadError("cannot be decoded")
        return original(self, location, level, size)

    monkeypatch.setattr(type(slide), "read_region", read)
    tile_set, report = choose_tiles(slide, tissue, geometry, slide_id="s")
    assert report.unreadable == 1
    assert str(report).endswith("kept (1 of them not readable)")
    assert [0, 32] in tile_set.coords.tolist()
    assert dict(report.dropped) == {"blank": 2}


def test_no_tile_left_says_what_was_counted(setup):
    slide, tissue, geometry = setup()
    with pytest.raises(EmptyTissueError, match=r"12 in grid, 9 on tissue, -9 spy, 0 kept.*62\.50%"):
        choose_tiles(slide, tissue, geometry, slide_id="s", filters=(SpyFilter(verdict=False),))[0]
    nothing = Tissue(np.zeros((12, 16), np.bool_), (8.0, 8.0), {})
    with pytest.raises(EmptyTissueError, match="12 in grid, 0 on tissue") as caught:
        choose_tiles(slide, nothing, geometry, slide_id="s")[0]
    assert caught.value.slide == "s"


def test_a_slide_smaller_than_a_tile(setup):
    slide, tissue, _ = setup()
    geometry = plan_tiles(slide, target_mpp=1.0, tile_size_px=97)
    with pytest.raises(SlideError, match="128 x 96 level-0 pixels, smaller than one tile of 97"):
        choose_tiles(slide, tissue, geometry, slide_id="s")[0]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_fraction_is_a_share(setup, share):
    with pytest.raises(ConfigError, match=r"min_tissue_fraction is .*a share from 0 to 1"):
        choose_tiles(*setup(), slide_id="s", min_tissue_fraction=share)[0]


class TestRecipe:
    def test_it_is_known_before_a_pixel_is_read(self, setup):
        slide, tissue, geometry = setup()
        filters = (BlankFilter(), BlurFilter(min_variance=0))
        tile_set = choose_tiles(
            slide, tissue, geometry, slide_id="s", min_tissue_fraction=0.2, filters=filters
        )[0]
        ahead = tiling_identity(
            geometry, tissue.identity, icc=False, min_tissue_fraction=0.2, filters=filters
        )
        assert tile_set.identity == ahead
        assert canonical_json(ahead)

    def test_everything_that_chooses_tiles_changes_it(self, setup):
        slide, tissue, geometry = setup()
        other = plan_tiles(slide, target_mpp=1.0, tile_size_px=32, stride_px=16)
        base = {"icc": False, "min_tissue_fraction": 0.1, "filters": (BlankFilter(),)}
        recipes = [
            tiling_identity(geometry, tissue.identity, **base),
            tiling_identity(other, tissue.identity, **base),
            tiling_identity(geometry, {"segmenter": "x"}, **base),
            tiling_identity(geometry, tissue.identity, **base | {"icc": True}),
            tiling_identity(geometry, tissue.identity, **base | {"min_tissue_fraction": 0.2}),
            tiling_identity(geometry, tissue.identity, **base | {"filters": ()}),
            tiling_identity(
                geometry, tissue.identity, **base | {"filters": (BlankFilter(white_level=201),)}
            ),
        ]
        assert len({identity_hash(identity) for identity in recipes}) == len(recipes)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "mpp", "target_mpp", "low", "high"),
    [
        ("cmu_small_region.svs", None, 0.5, 45, 52),
        ("her2st_B4.tiff", None, 1.0, 180, 210),
        ("her2st_C3.tiff", None, 1.0, 125, 138),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.25, 0.5, 38, 40),
    ],
)
def test_real_slides(shared_data, file, mpp, target_mpp, low, high):
    with open_slide(shared_data / "slides" / file, mpp) as slide:
        geometry = plan_tiles(slide, target_mpp=target_mpp)
        filters = (BlankFilter(), PenFilter())
        tile_set, report = choose_tiles(
            slide, find_tissue(slide), geometry, slide_id=file, filters=filters
        )
    assert low <= tile_set.num_tiles <= high
    assert dict(report.dropped) == {"blank": 0, "pen": 0}
    end = tile_set.coords + geometry.tile_size_level0
    assert (end <= (geometry.level0_width, geometry.level0_height)).all()


def drawn(*boxes, **identity):
    """Regions of one box each, called A, B, ..."""
    return ChosenRegions(
        tuple("ABC"[: len(boxes)]), tuple(shapely.box(*b) for b in boxes), "class", identity
    )


def test_tiles_in_regions_with_the_larger_share(setup):
    regions = drawn((0, 0, 40, 96), (42, 0, 128, 64))
    tile_set, report = choose_tiles(*setup(), slide_id="s", filters=(), regions=regions)
    assert tile_set.coords.tolist() == [[x, y] for y in (0, 32) for x in (0, 32, 64)] + [
        [0, 64],
        [32, 64],
    ]
    assert tile_set.regions.names == ("A", "B")
    assert tile_set.regions.index.tolist() == [0, 1, 1, 0, 1, 1, 0, 0]
    np.testing.assert_array_equal(
        tile_set.regions.share, np.float32([1, 22 / 32, 1, 1, 22 / 32, 1, 1, 8 / 32])
    )
    assert str(report) == "12 in grid, 9 on tissue, 8 in regions, 8 kept (4 A, 4 B)"


@pytest.mark.parametrize(("least", "num_tiles"), [(0.0, 6), (0.25, 6), (0.2501, 3), (1.0, 3)])
def test_the_least_share_of_a_region_counts_itself_in(setup, least, num_tiles):
    regions = drawn((0, 0, 40, 96), (1000, 1000, 1100, 1100))
    tile_set, _ = choose_tiles(
        *setup(), slide_id="s", filters=(), regions=regions, min_region_fraction=least
    )
    assert tile_set.num_tiles == num_tiles
    assert tile_set.regions.counts() == {"A": num_tiles, "B": 0}


def test_regions_of_the_tiles_that_filters_leave(setup):
    tile_set, report = choose_tiles(
        *setup((0, 32, 0, 32, GLASS)), slide_id="s", regions=drawn((0, 0, 32, 64))
    )
    assert tile_set.coords.tolist() == [[0, 32]]
    assert tile_set.regions.share.tolist() == [1.0]
    assert str(report) == "12 in grid, 9 on tissue, 2 in regions, -1 blank, 1 kept (1 A)"


def test_no_tile_in_any_region(setup):
    with pytest.raises(
        EmptyTissueError,
        match=r"9 on tissue, 0 in regions, 0 kept\).* 10% tissue and 10% of one region"
        r".* --min-region-fraction",
    ):
        choose_tiles(*setup(), slide_id="s", filters=(), regions=drawn((100, 0, 128, 96)))


def test_regions_are_part_of_the_identity_only_where_asked_for(setup):
    slide, tissue, geometry = setup()
    bare = tiling_identity(geometry, tissue.identity, icc=False)
    assert "regions" not in bare
    regions = drawn((0, 0, 64, 64), by="class", inputs={"regions": "0123"})
    known = tiling_identity(
        geometry, tissue.identity, icc=False, regions=regions, min_region_fraction=0.5
    )
    made = choose_tiles(
        slide, tissue, geometry, slide_id="s", regions=regions, min_region_fraction=0.5
    )[0].identity
    assert made == known
    assert known == bare | {
        "regions": {"by": "class", "inputs": {"regions": "0123"}, "min_region_fraction": 0.5}
    }
