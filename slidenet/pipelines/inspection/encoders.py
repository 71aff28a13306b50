"""`slidenet encoders`: which tile encoders there are, and on what terms."""

from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.text import text_table
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
        rows = [
            (
                spec.name,
                str(spec.output_dim),
                f"{spec.target_mpp:g}",
                str(spec.transform.input_px),
                "yes" if spec.gated else "no",
                spec.licence,
            )
            for spec in self.specs
        ]
        header = ("name", "features", "target mpp", "input px", "gated", "licence")
        more = "Any other timm model: timm/NAME. Own weights: --weights FILE."
        return f"{text_table(header, rows)}\n\n{more}"


def encoders() -> EncoderTable:
    """List the tile encoders with their feature length, resolution and licence."""
    return EncoderTable([get_spec(name) for name in list_tile_encoders()])
