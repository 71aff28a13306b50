"""The resolutions of a folder of tiles, level 0's and the tiles' own, from whoever says them."""

from dataclasses import dataclass, replace

from slidenet.core.errors import MissingMppError
from slidenet.core.records import SlideMpp
from slidenet.core.units import Mpp
from slidenet.slides.resolution import OVERRIDE, DeclaredMpp, declared_mpp
from slidenet.slides.tile_images.names import NamedPlaces


@dataclass(frozen=True, slots=True)
class Resolutions:
    """What is known so far; what comes first wins.

    Attributes:
        slide: Named in messages.
        mpp: Microns per pixel of level 0.
        tile_mpp: Microns per pixel of the tiles.
        mpp_source: What said `mpp`.
        tile_source: What said `tile_mpp`.
    """

    slide: str
    mpp: float | None = None
    tile_mpp: float | None = None
    mpp_source: str = OVERRIDE
    tile_source: str = OVERRIDE

    @classmethod
    def of(cls, mpp: DeclaredMpp | None, tile_mpp: float | None, *, slide: str) -> "Resolutions":
        """What the user declared.

        Raises:
            MissingMppError: It cannot be.
        """
        known = None if mpp is None else declared_mpp(mpp, slide=slide).value
        if tile_mpp is not None:
            declared_mpp(tile_mpp, slide=slide)
        return cls(slide, known, tile_mpp)

    def or_else(self, mpp: float | None, tile_mpp: float | None, source: str) -> "Resolutions":
        """With what `source` says, where nothing said it before."""
        found = self
        if found.mpp is None and mpp is not None:
            found = replace(found, mpp=mpp, mpp_source=source)
        if found.tile_mpp is None and tile_mpp is not None:
            found = replace(found, tile_mpp=tile_mpp, tile_source=source)
        return found

    def with_names(self, named: NamedPlaces, side: int) -> "Resolutions":
        """With what the names say of a tile's size in level-0 pixels.

        Raises:
            MissingMppError: Tiles of several sizes.
        """
        downsamples = set(named.downsamples) | {width / side for width in named.widths}
        if len(downsamples) > 1:
            raise MissingMppError(
                f"the names of its tiles say {len(downsamples)} downsamples "
                f"({min(downsamples):g} to {max(downsamples):g})",
                expected="tiles of one resolution",
                remedy="put the tiles of each resolution into a folder of their own",
                slide=self.slide,
            )
        if self.mpp is None or not downsamples:
            return self
        return self.or_else(None, self.mpp * downsamples.pop(), "the names of its tiles")

    def settled(self, *, needs_both: bool) -> tuple[SlideMpp, Mpp]:
        """Level 0's and the tiles' own; one stands for both unless places count level-0 pixels.

        Raises:
            MissingMppError: Neither is known, or one where both are needed.
        """
        mpp, tile_mpp = self.mpp, self.tile_mpp
        if (mpp is None or tile_mpp is None) and needs_both:
            missing = [
                text
                for text, value in (
                    ("--mpp (of level 0)", mpp),
                    ("--tile-mpp (of the images)", tile_mpp),
                )
                if value is None
            ]
            raise MissingMppError(
                "its places count pixels of level 0, and not both resolutions are known",
                expected="microns per pixel of level 0 and of the tile images",
                remedy=f"give {' and '.join(missing)}, or the columns mpp and tile_mpp in "
                "slides.csv; where the tiles were cut on level 0, both are the same",
                slide=self.slide,
            )
        if mpp is None and tile_mpp is None:
            raise MissingMppError(
                "nothing says the microns per pixel of its tile images",
                expected="the resolution the tiles were cut at",
                remedy="give --tile-mpp, or a column tile_mpp in slides.csv (in Python, tile_mpp)",
                slide=self.slide,
            )
        if mpp is None:
            assert tile_mpp is not None
            checked = declared_mpp(tile_mpp, slide=self.slide)
            return SlideMpp(checked.value, self.tile_source), checked.value
        value = declared_mpp(mpp, slide=self.slide).value
        own = declared_mpp(mpp if tile_mpp is None else tile_mpp, slide=self.slide).value
        return SlideMpp(value, self.mpp_source), own
