"""What was found on one slide, as it is kept beside the polygons (`tissue/{slide_id}.json`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.errors import StoreError
from slidenet.core.text import count_of
from slidenet.slides import Slide
from slidenet.stores.atomic import atomic_path
from slidenet.tissue import DroppedRegion, Reason, Tissue, dropped_regions
from slidenet.tissue.finding import DOUBTFUL
from slidenet.tissue.regions import DRAWN

FORMAT, VERSION = "slidenet.tissue", 1

MOST_REGIONS = 200
"""Dropped regions listed per slide, the largest; the others are counted."""

LEAST_MM2 = 0.005
"""Less of a reason is not named in the line of a slide."""


@dataclass(frozen=True, slots=True)
class TissueRecord:
    """What was found on one slide.

    Attributes:
        slide_id: Id of the slide.
        segmenter: What found the tissue; "geojson" for tissue drawn by hand; None where nothing
            is known of the slide but that it has tiles.
        doubt: From 0 (sure) to 1; None where the segmenter does not say.
        notes: Warnings, one line each.
        areas_um2: Square microns of tissue and of all that is none, by reason; of tissue alone
            where nobody says why the rest is none, as with tissue drawn by hand.
        num_dropped: Number of dropped regions.
        dropped: The largest of them: `reason`, `area_um2` and `box` (left, top, right, bottom in
            level-0 pixels).
    """

    slide_id: str
    segmenter: str | None = None
    doubt: float | None = None
    notes: tuple[str, ...] = ()
    areas_um2: Mapping[Reason, float] = field(default_factory=dict)
    num_dropped: int = 0
    dropped: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, tissue: Tissue, slide: Slide, slide_id: str) -> "TissueRecord":
        """The record of what was found on an open slide.

        Raises:
            MissingMppError: The slide has no mpp.
        """
        finding, slide_mpp = tissue.finding, slide.slide_mpp.value
        pixel_um2 = tissue.downsample_xy[0] * tissue.downsample_xy[1] * slide_mpp**2
        counts = {Reason.TISSUE: int(tissue.mask.sum())}
        largest: list[DroppedRegion] = []
        number = 0
        if finding is not None and finding.reasons is not None:
            codes = np.bincount(finding.reasons.ravel(), minlength=len(Reason))
            known = (Reason.TISSUE, Reason.GROUND)
            counts = {r: int(codes[r]) for r in Reason if codes[r] or r in known}
            largest, number = dropped_regions(
                finding,
                level0_size=slide.level_dimensions[0],
                slide_mpp=slide_mpp,
                most=MOST_REGIONS,
            )
        return cls(
            slide_id,
            str(tissue.identity.get("segmenter", DRAWN)),
            None if finding is None or finding.doubt is None else round(finding.doubt, 4),
            (*(() if finding is None else finding.notes), *tissue.notes),
            {reason: round(count * pixel_um2, 1) for reason, count in counts.items()},
            number,
            tuple(
                {
                    "reason": region.reason.name.lower(),
                    "area_um2": round(region.area_um2 or 0.0, 1),
                    "box": list(region.box),
                }
                for region in largest
            ),
        )

    @classmethod
    def of_nothing(cls, slide_id: str, segmenter: str, why: str) -> "TissueRecord":
        """The record of a slide on which no tissue was found, so that a person looks at it."""
        return cls(slide_id, segmenter, 1.0, (f"no tissue: {why}",), {Reason.TISSUE: 0.0})

    @property
    def found_nothing(self) -> bool:
        """Whether it is the record of a slide without tissue, which has no tiles."""
        return self.areas_um2.get(Reason.TISSUE) == 0

    @property
    def is_described(self) -> bool:
        """Whether it is known what was found."""
        return self.segmenter is not None

    @property
    def knows_reasons(self) -> bool:
        """Whether it is known why places are no tissue."""
        return not set(self.areas_um2) <= {Reason.TISSUE}

    @property
    def is_doubtful(self) -> bool:
        """Whether a person should look at the slide."""
        return bool(self.notes) or (self.doubt is not None and self.doubt >= DOUBTFUL)

    def summary(self) -> str:
        """Doubt, what was dropped and the warnings, as a clause for the line of the slide."""
        parts = [f"doubt {self.doubt:.2f}"] if self.doubt is not None else []
        for reason in (Reason.INK, Reason.DEBRIS, Reason.HAZE, Reason.EXCLUDED):
            square_mm = self.areas_um2.get(reason, 0) / 1e6
            if square_mm >= LEAST_MM2:
                parts.append(f"{reason.words}: {square_mm:.2f} mm2 dropped")
        return "; ".join([*parts, *(f"warning: {note}" for note in self.notes)])

    def write(self, path: Path) -> None:
        """Writes the record as JSON, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "slide_id": self.slide_id,
            "segmenter": self.segmenter,
            "doubt": self.doubt,
            "notes": list(self.notes),
            "areas_um2": {reason.name.lower(): area for reason, area in self.areas_um2.items()},
            "num_dropped": self.num_dropped,
        }
        # One region a line: small, and still readable in a text editor.
        lines = [json.dumps(region) for region in self.dropped]
        dropped = "[\n    " + ",\n    ".join(lines) + "\n  ]" if lines else "[]"
        text = json.dumps(content, indent=2).removesuffix("\n}")
        with atomic_path(path, slide=self.slide_id) as temporary:
            temporary.write_text(f'{text},\n  "dropped": {dropped}\n}}\n', encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "TissueRecord":
        """The record that `write` wrote.

        Raises:
            StoreError: The file is missing, or holds something else.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT or found["version"] != VERSION:
                raise ValueError(f"format {found['format']!r}, version {found['version']!r}")
            return cls(
                str(found["slide_id"]),
                str(found["segmenter"]),
                None if found["doubt"] is None else float(found["doubt"]),
                tuple(str(note) for note in found["notes"]),
                {Reason[name.upper()]: float(area) for name, area in found["areas_um2"].items()},
                int(found["num_dropped"]),
                tuple(dict(region) for region in found["dropped"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{path} does not say what was found on its slide ({error})",
                expected=f"{FORMAT}, version {VERSION}",
                remedy="make it anew: `slidenet preprocess --overwrite`",
            ) from error


def look_at(records: list[TissueRecord]) -> str:
    """Which slides a person should look at, in one line; empty for none."""
    doubtful = [record for record in records if record.is_doubtful]
    if not doubtful:
        return ""
    named = []
    for record in doubtful[:5]:
        why = [] if record.doubt is None else [f"doubt {record.doubt:.2f}"]
        named.append(f"{record.slide_id} ({'; '.join([*why, *record.notes[:1]])})")
    more = f" and {len(doubtful) - 5} more" if len(doubtful) > 5 else ""
    return f"{count_of('slide', len(doubtful))} to look at: {', '.join(named)}{more}"
