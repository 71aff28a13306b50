"""`slidenet embed-slides`: one vector per slide from the features of its tiles."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.core.errors import (
    ConfigError,
    EmptyTissueError,
    EncoderError,
    SlidenetError,
    StoreError,
)
from slidenet.core.plugins import code_identity
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow, TileGeometry
from slidenet.core.registry import Registry
from slidenet.parallel.agreement import Fact
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.ranks import SlideRanks, join_ranks, others_wait
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import output_of, to_buckets
from slidenet.pipelines.settings import EmbedSlidesSettings, settings_with
from slidenet.slide_encoders import (
    RECIPES,
    SLIDE_ENCODERS,
    SlideEncoder,
    load_slide_encoder,
)
from slidenet.slide_encoders.pooling import POOLINGS
from slidenet.stores import (
    FeatureFile,
    check_output_folder,
    existing_output,
    open_features,
    read_slide_embedding,
    write_slide_embedding,
)
from slidenet.stores.claims import claim
from slidenet.stores.h5 import schema
from slidenet.stores.h5.ancestors import check_tiles_of
from slidenet.stores.h5.validate import check_name
from slidenet.weights.device import resolve_device


@to_buckets
def embed_slides(
    slides: Slides,
    out: str | Path,
    settings: EmbedSlidesSettings | None = None,
    *,
    encoder: str = "efficientnet_lite0",
    overwrite: bool = False,
    recursive: bool = False,
    sequence_ranks: int | SlideRanks = 1,
    slide_encoder: SlideEncoder | None = None,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> RunReport:
    """Turn the tile features of every slide into one slide embedding.

    Writes `slide_embeddings/<encoder>/<recipe>/` under `out`. Several GPUs share each slide under
    `torchrun --nproc-per-node N --no-python slidenet embed-slides ... --sequence-ranks N`.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder of `slidenet embed-tiles`.
        settings: The recipe and its weights.
        encoder: The tile encoder whose features are used.
        overwrite: Replace outputs made with other settings.
        recursive: Of a folder of slides, take those of its subfolders, too.
        sequence_ranks: Processes started by torchrun that share each slide.
        slide_encoder: One made in Python, used instead of the one the
            settings name.
        fleet: Which of the slides this call takes.
        runner: Who does the work.
        **keywords: Fields of `EmbedSlidesSettings`.
    """
    settings = settings_with(EmbedSlidesSettings, settings, keywords)

    def checked_rows() -> Sequence[SlideRow]:
        check_recipe(settings)
        if isinstance(sequence_ranks, int) and sequence_ranks > 1 and settings.recipe in POOLINGS:
            raise ConfigError(
                f"{sequence_ranks} ranks for the recipe {settings.recipe!r}",
                expected="a recipe of the LongNet slide encoder",
                remedy="drop --sequence-ranks; a pooling reads its features in blocks and needs no "
                "GPU",
            )
        if (fleet.devices is not None or fleet.runner != "local") and sequence_ranks != 1:
            asked = "--runner ray" if fleet.devices is None else f"--devices {fleet.devices}"
            raise ConfigError(
                f"{asked} with --sequence-ranks",
                expected="processes that take a slide each, or ranks that share each slide",
                remedy="drop one of the two",
            )
        if output_of(Path(out)) is not None and sequence_ranks != 1:
            raise ConfigError(
                "--sequence-ranks with an output in a bucket",
                expected="a folder that all ranks share",
                remedy="give a folder as --out and copy it into the bucket afterwards",
            )
        return rows_of(slides, recursive=recursive)

    # Where others wait they are met first, as they must hear of what is wrong here.
    if isinstance(sequence_ranks, SlideRanks):
        rows, ranks = None, sequence_ranks
    else:
        rows = None if others_wait() else checked_rows()
        ranks = join_ranks(sequence_ranks, settings.device)
    try:
        rows = ranks.on_all(checked_rows) if rows is None else rows
        flags = {
            "--slides": {f"slide {i}": row.slide_id for i, row in enumerate(rows, 1)},
            "--out": str(out),
            "--encoder": encoder,
            "--recipe": settings.recipe,
            "--overwrite": overwrite,
        }
        ranks.compare("embed-slides", lambda: _alike(flags))
        layout = ranks.on_all(lambda: OutputLayout(check_output_folder(out)))
        if slide_encoder is None:
            device = settings.device if ranks.device is None else str(ranks.device)
            placed = replace(settings, device=device)
            slide_encoder = ranks.on_all(lambda: load_recipe(placed))
        work = EmbedSlidesWork(layout, encoder, settings.recipe, slide_encoder, overwrite, ranks)
        # Of --slide-weights what they hold is compared: each machine may keep them elsewhere.
        ranks.compare(
            "the slide encoder", lambda: _alike({"slide encoder": work.slide_encoder.identity()})
        )
        ranks.share(slide_encoder)
        return run_cohort(
            "embed-slides",
            rows,
            work,
            settings=[settings],
            fleet=fleet,
            runner=runner,
            rank=ranks.rank,
        )
    finally:
        if ranks is not sequence_ranks:
            ranks.leave()


def _alike(given: Mapping[str, object]) -> dict[str, Fact]:
    """What ranks that share slides must have been started with alike."""
    remedy = "start every rank with the same command, on the same files"
    return {name: Fact(value, remedy) for name, value in given.items()}


def check_recipe(settings: EmbedSlidesSettings) -> None:
    """Refuses a recipe nobody knows, before any work.

    Raises:
        UnknownNameError: With the nearest names.
    """
    known: Registry[str] = Registry("slide embedding recipe")
    for name in (*POOLINGS, *RECIPES):
        known.add(name, name)
    known.add_other_names(RECIPES.other_names)
    if settings.recipe not in known and SLIDE_ENCODERS.plugin(settings.recipe) is None:
        raise known.unknown(settings.recipe)


def check_feature_dim(slide_encoder: SlideEncoder, feature_dim: int, tile_encoder: str) -> None:
    """Refuses features of another length than the slide encoder was trained on.

    Raises:
        EncoderError: Naming both lengths.
    """
    expected = slide_encoder.feature_dim
    if expected is not None and feature_dim != expected:
        raise EncoderError(
            f"features of {tile_encoder} have length {feature_dim}",
            expected=f"{expected}, what this slide encoder was trained on",
            remedy=(
                "" if tile_encoder == "gigapath" else "embed tiles with --encoder gigapath; or "
            )
            + "use a slide encoder for such features, or --recipe mean",
        )


def load_recipe(settings: EmbedSlidesSettings) -> SlideEncoder:
    """The slide encoder or pooling that `settings` ask for.

    Raises:
        UnknownNameError: For a recipe nobody knows.
        MissingWeightsError: For a recipe with weights that are not there.
        WeightsMismatchError: For weights of something else.
    """
    check_recipe(settings)
    if settings.recipe in POOLINGS:
        return load_slide_encoder(settings.recipe, weights=settings.slide_weights)
    if settings.recipe not in RECIPES:  # a slide encoder of another package
        return load_slide_encoder(
            settings.recipe,
            weights=settings.slide_weights,
            device=resolve_device(settings.device),
        )
    return load_slide_encoder(
        "gigapath",
        weights=settings.slide_weights,
        recipe=settings.recipe,
        device=resolve_device(settings.device),
    )


@dataclass(frozen=True)
class EmbedSlidesWork(SlideWork):
    """Makes the slide embedding of one slide.

    Attributes:
        layout: Paths of the output folder.
        tile_encoder: Name of the tile encoder whose features are used.
        recipe: Name of the recipe, which names the folder.
        slide_encoder: Turns features into one vector.
        overwrite: Whether outputs made with other settings are replaced.
        ranks: The processes that share each slide; the same work is done on all of them.
    """

    layout: OutputLayout
    tile_encoder: str
    recipe: str
    slide_encoder: SlideEncoder
    overwrite: bool = False
    ranks: SlideRanks = field(default_factory=SlideRanks)

    @property
    def device(self) -> str:
        """See `SlideWork`."""
        encoder = self.slide_encoder
        parameters = encoder.parameters() if isinstance(encoder, nn.Module) else iter(())
        return str(next((one.device for one in parameters), "cpu"))

    @property
    def comes_back(self) -> bool:
        """Ranks that share slides stay in step: none of them waits for others."""
        return self.ranks.size == 1

    def claimed(self, row: SlideRow) -> Path | None:
        """The embedding; ranks that share slides claim it together (`_claim_together`)."""
        return self._path(row) if self.ranks.size == 1 else None

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        slide_id, layout = row.slide_id, self.layout
        return layout.tiles(slide_id), layout.features(slide_id, self.tile_encoder), self._path(row)

    def _path(self, row: SlideRow) -> Path:
        return self.layout.slide_embedding(row.slide_id, self.tile_encoder, self.recipe)

    def _claim_together(self, row: SlideRow, stack: ExitStack) -> None:
        """Claims the embedding on the rank that writes; who holds it is told to all ranks."""
        refusal = None
        if self.ranks.writes:
            try:
                stack.enter_context(claim(self._path(row), slide=row.slide_id))
            except SlidenetError as error:
                refusal = error
        refusal = self.ranks.broadcast(refusal)
        if refusal is not None:
            raise refusal

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Embeds one slide, unless it is done with the same identity."""
        ranks = self.ranks
        path = self._path(row)
        with ExitStack() as stack:
            self._claim_together(row, stack)
            file = ranks.on_all(lambda: stack.enter_context(self._open_features(row.slide_id)))
            features_file = {**file.identity, "fingerprint": file.fingerprint}
            ranks.compare(
                "the features of a slide",
                lambda: _alike({"slide_id": file.slide_id, "features file": features_file}),
            )
            fingerprint = file.fingerprint
            assert fingerprint is not None, "a file of ours knows its slide"
            encoder_identity: Identity = {
                **self.slide_encoder.identity(),
                **code_identity(type(self.slide_encoder)),
            }
            identity: Identity = {"features": file.identity, "slide_encoder": encoder_identity}
            done = ranks.on_all(
                lambda: (
                    ranks.writes
                    and not self.overwrite
                    and existing_output(path, identity, fingerprint, input_digest=file.digest)
                )
            )
            if ranks.broadcast(done):
                dimension = len(read_slide_embedding(path).slide_embedding)
                return SlideResult(
                    path,
                    f"{dimension}-d",
                    file.num_tiles,
                    num_unreadable=file.num_unreadable,
                    already_done=True,
                )
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                coords, geometry, mask = ranks.on_all(lambda: self._checked_tiles(file))
                embedding = ranks.on_all(
                    lambda: self.slide_encoder.embed(
                        file.features, coords, geometry, mask=mask, slide_id=file.slide_id
                    )
                )
                # Read as a whole before, as a rule; then this costs nothing.
                ranks.on_all(lambda: file.prove() if ranks.writes else None)
            if ranks.writes:
                write_slide_embedding(
                    path,
                    embedding,
                    slide_id=file.slide_id,
                    fingerprint=fingerprint,
                    identity=identity,
                    encoder_identity=encoder_identity,
                    num_tiles=file.num_tiles,
                    version=schema.version_of(geometry),
                    features_digest=file.digest,
                )
            notes = [f"{len(embedding)}-d", *(f"warning: {w.message}" for w in caught)]
            return SlideResult(
                path, "; ".join(notes), file.num_tiles, num_unreadable=file.num_unreadable
            )

    def _open_features(self, slide_id: str) -> FeatureFile:
        path = self.layout.features(slide_id, self.tile_encoder)
        if not path.is_file():
            raise StoreError(
                f"there is no {path}",
                expected="the tile features of this slide",
                remedy=f"run `slidenet embed-tiles --encoder {self.tile_encoder}` with the same "
                "--slides and --out first",
            )
        file = open_features(path)
        if file.layout != "slidenet":
            raise StoreError(
                f"{path} was written by {file.layout}",
                expected="features of slidenet, which say how the tiles of the slide were cut",
                remedy=f"run `slidenet embed-tiles --encoder {self.tile_encoder} --overwrite`",
            )
        check_name(path, file.slide_id)
        check_tiles_of(path, self.layout.tiles(slide_id))
        return file

    def _checked_tiles(self, file: FeatureFile) -> tuple[IntArray, TileGeometry, BoolArray]:
        """Coords, geometry and mask of the tiles, once the encoder is known to take them."""
        coords, mask = file.coords, file.mask
        if not mask.any():
            raise EmptyTissueError(
                f"none of its {file.num_tiles} tiles could be read",
                remedy="check the slide file; it may be truncated",
            )
        assert file.encoder is not None, "a file of ours names its encoder"
        tile_encoder = str(file.encoder.get("encoder", "another encoder"))
        check_feature_dim(self.slide_encoder, file.feature_dim, tile_encoder)
        assert file.geometry is not None, "a file of ours says how its tiles lie"
        return coords, file.geometry, mask
