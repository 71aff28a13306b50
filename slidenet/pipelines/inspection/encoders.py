"""`slidenet encoders`: which tile encoders there are, and on what terms."""

from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.tile_encoders import TileEncoderSpec, get_spec, list_tile_encoders


@dataclass(frozen=True, slots=True)
class EncoderTable:
    """The known tile encoders.

    Attributes:
        specs: Their specs, by name.
    """

    specs: Sequence[TileEncoderSpec]
    exit_code: int = 0

    def table(self) -> str:
        """One line per encoder."""
        header = ("name", "features", "target mpp", "input px", "gated", "licence")
        rows = [header]
        for s in self.specs:
            gated = "yes" if s.gated else "no"
            numbers = (str(s.output_dim), f"{s.target_mpp:g}", str(s.transform.input_px))
            rows.append((s.name, *numbers, gated, s.licence))
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join(
            [*lines, "", "Any other timm model: timm/NAME. Own weights: --weights FILE."]
        )


def encoders() -> EncoderTable:
    """List the tile encoders with their feature length, resolution and licence."""
    return EncoderTable([get_spec(name) for name in list_tile_encoders()])
