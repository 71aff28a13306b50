"""What people draw on a slide: regions with class and name, in level-0 pixels."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shapely.geometry import Polygon

Frame = Literal["qupath", "level0"]
"""Where (0, 0) lies: the corner of what QuPath shows (level 0 minus bounds), or of level 0."""
FRAMES: tuple[Frame, ...] = ("qupath", "level0")

Kind = Literal["annotation", "tma_core"]


@dataclass(frozen=True)
class Region:
    """One closed outline.

    Attributes:
        polygon: Valid, with its holes; level-0 pixels where the region was read for a slide.
        classification: Its class ("Tumor", derived "Tumor: Positive"); None where it has none.
        name: What a person, or a TMA grid, calls it; None where it has no name.
        kind: "annotation" or "tma_core".
        excludes: Whether it takes its area out: class or name says ignore or artefact, the core is
            missing, or the caller named its class.
        number: Place of its object in the file, from 0. Parts of one object share it.
    """

    polygon: Polygon
    classification: str | None = None
    name: str | None = None
    kind: Kind = "annotation"
    excludes: bool = False
    number: int = 0

    def __str__(self) -> str:
        """Words that find it again: `region 3 (Tumor, "left edge")`."""
        known = [
            *([] if self.classification is None else [self.classification]),
            *([] if self.name is None else [f'"{self.name}"']),
        ]
        return f"region {self.number}" + (f" ({', '.join(known)})" if known else "")


@dataclass(frozen=True)
class RegionSet:
    """All regions of one slide.

    Attributes:
        regions: In the order of the file.
        notes: What a user should know, a clause each: "3 points and 1 line skipped".
        digest: Of outlines, classes, names and kinds in level-0 pixels: it follows the shapes, not
            how the file spells them.
    """

    regions: tuple[Region, ...]
    notes: tuple[str, ...]
    digest: str

    @property
    def included(self) -> tuple[Region, ...]:
        """Those that do not exclude."""
        return tuple(region for region in self.regions if not region.excludes)

    @property
    def excluded(self) -> tuple[Region, ...]:
        """Those whose area is taken out."""
        return tuple(region for region in self.regions if region.excludes)


@dataclass
class Parsed:
    """What a file holds, before it is placed on a slide.

    Attributes:
        regions: In the file's own frame; `excludes` says only what follows from other things than
            the class: its name, or that the core is missing.
        excluding_classes: Classes that exclude in this file, besides those that do everywhere.
        skipped: How many of what has no area or is no region: "point", "line", "cell", ...
        notes: What a user should know.
        frame: What the file says of its frame; None: nothing.
        origin: (x, y), with the frame "qupath": where that frame starts, level-0 pixels.
        old_numbers: Regions with an id as older slidenet wrote them, in level-0 pixels.
    """

    regions: Sequence[Region] = ()
    excluding_classes: Collection[str] = ()
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    frame: Frame | None = None
    origin: tuple[int, int] = (0, 0)
    old_numbers: frozenset[int] = frozenset()
