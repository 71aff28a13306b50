"""Features of slides as a trained model takes them, made from the slides themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidenet.core.errors import IdentityMismatchError
from slidenet.core.provenance import Identity, describe_difference
from slidenet.core.records import SlideRow
from slidenet.pipelines.begun.engine import settle_engine
from slidenet.pipelines.begun.settings_from_identity import settings_from_identity
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.embed_tiles import embed_tiles, load_encoder
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import OpeningSettings


@dataclass(frozen=True)
class EncodingChoice:
    """What the user decides about features whose other settings a model fixes.

    Attributes:
        weights: Local weights file of the tile encoder, instead of the hub or its cache.
        device: Where the encoder runs.
        batch_size: Tiles per forward pass; None: what suits its engine.
        num_readers: Threads that read tiles; None: one per core, 2 to 16.
        allow_upsampling: Whether slides coarser than the training's are enlarged.
        allow_code: Whether a model may name code outside slidenet.
        opening: Where slides are opened and what they may cost.
        fleet: With how many processes, and how it is shown how far they are.
    """

    weights: Path | None = None
    device: str = "auto"
    batch_size: int | None = None
    num_readers: int | None = None
    allow_upsampling: bool = False
    allow_code: bool = False
    opening: OpeningSettings | None = None
    fleet: FleetSettings = WHOLE


@dataclass(frozen=True)
class FeatureFolder:
    """Features of slides.

    Attributes:
        folder: Where they lie; None where no slide got so far.
        rows: The slides that have them.
        stages: Reports of the steps.
    """

    folder: Path | None
    rows: Sequence[SlideRow]
    stages: Sequence[RunReport]


def make_features(
    rows: Sequence[SlideRow],
    out: Path,
    identity: Identity,
    choice: EncodingChoice,
    *,
    source: str,
    runner: Runner,
) -> FeatureFolder:
    """Cuts and encodes slides with the very settings of a training; what is there is used.

    Args:
        rows: The slides.
        out: Output folder.
        identity: Of the features the model was trained on.
        choice: What that leaves open.
        source: The model, for messages.
        runner: Who does the work.

    Raises:
        IdentityMismatchError: Such features cannot be made here, or by another encoder only.
    """
    tiling, encoding = settings_from_identity(identity, source=source, allow_code=choice.allow_code)
    how_to_open = vars(choice.opening or OpeningSettings())
    tiling = replace(tiling, allow_upsampling=choice.allow_upsampling, **how_to_open)
    encoding = replace(
        encoding,
        **how_to_open,
        weights=choice.weights,
        device=choice.device,
        batch_size=choice.batch_size,
        num_readers=choice.num_readers,
    )
    encoder = settle_engine(load_encoder(encoding), encoding, OutputLayout(out))
    wanted = identity["tile_encoder"]
    assert isinstance(wanted, Mapping), "checked by settings_from_identity"
    difference = describe_difference(wanted, encoder.identity())
    if difference:
        raise IdentityMismatchError(
            f"the tile encoder here is not the one {source} was trained with ({difference})",
            remedy="give the same weights as --weights",
        )
    who: dict[str, Any] = {"fleet": choice.fleet, "runner": runner}
    stages = [preprocess(rows, out, tiling, **who)]
    done = stages[-1].rows_done(rows)
    if done:
        stages.append(embed_tiles(done, out, encoding, tile_encoder=encoder, **who))
        done = stages[-1].rows_done(done)
    folder = OutputLayout(out).features("x", encoder.spec.name).parent
    return FeatureFolder(folder if done else None, done, stages)


def place_of_set(out: Path, number: int, identity: Identity, first: Identity) -> Path:
    """The output folder of a further feature set: that of the first where tiles are the same."""
    same_tiles = identity.get("tiles") == first.get("tiles")
    encoders = [_encoder_name(one) for one in (identity, first)]
    return out if same_tiles and encoders[0] != encoders[1] else out / f"features_{number}"


def _encoder_name(identity: Identity) -> object:
    encoder = identity.get("tile_encoder")
    return encoder.get("encoder") if isinstance(encoder, Mapping) else None
