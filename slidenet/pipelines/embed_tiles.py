"""`slidenet embed-tiles`: the features of every tile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from slidenet.core.checks import check_whole
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow, TileSet
from slidenet.data import TileStream
from slidenet.pipelines.begun.engine import settle_engine
from slidenet.pipelines.begun.origins import origin_of
from slidenet.pipelines.begun.reading import check_one_reading
from slidenet.pipelines.cohort.encoding import SlideEncoding
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.planned import open_planned, planned_tiles
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.settings import EmbedTilesSettings, settings_with
from slidenet.slides.geometry import MPP_TOLERANCE
from slidenet.stores import (
    FeatureFile,
    FeatureWriter,
    check_output_folder,
    existing_output,
    open_features,
)
from slidenet.stores.h5.digests import content_digest
from slidenet.stores.tiles import tile_digests
from slidenet.tile_encoders import TileEncoder, load_tile_encoder


@to_buckets
def embed_tiles(
    slides: Slides,
    out: str | Path,
    settings: EmbedTilesSettings | None = None,
    *,
    overwrite: bool = False,
    recursive: bool = False,
    tile_encoder: TileEncoder | None = None,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> RunReport:
    """Turn the tiles of every preprocessed slide into features.

    Writes `tile_features/<encoder>/` under `out`. A killed run goes on at the batch it had reached;
    tiles that could not be read are read again by the next run.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder of `slidenet preprocess`.
        settings: The tile encoder and how it runs.
        overwrite: Replace outputs made with other settings.
        recursive: Of a folder of slides, take those of its subfolders, too.
        tile_encoder: A tile encoder made in Python, used with its own engine instead of what the
            settings name.
        fleet: Which of the slides this call takes.
        runner: Who does the work.
        **keywords: Fields of `EmbedTilesSettings`.
    """
    settings = settings_with(EmbedTilesSettings, settings, keywords)
    rows = rows_of(slides, reader=settings.reader, recursive=recursive)
    check_whole(batch_size=settings.batch_size, num_readers=settings.num_readers, or_none=True)
    settings.how_to_open()
    layout = OutputLayout(check_output_folder(out))
    check_one_reading(layout, rows)
    encoder = tile_encoder or settle_engine(
        load_encoder(settings), settings, layout, overwrite=overwrite
    )
    batch_size = settings.batch_size or encoder.engine.batch_size
    with TileStream(encoder, batch_size, settings.num_readers) as stream:
        work = EmbedTilesWork(layout, stream, settings, overwrite)
        return run_cohort(
            "embed-tiles", rows, work, settings=[settings], fleet=fleet, runner=runner
        )


def load_encoder(settings: EmbedTilesSettings) -> TileEncoder:
    """The tile encoder that `settings` ask for, run by PyTorch.

    Raises:
        ConfigError: For a setting out of range.
        UnknownNameError: For an encoder nobody knows.
        EncoderError: For weights that are missing or of something else, or a device not there.
    """
    check_whole(batch_size=settings.batch_size, num_readers=settings.num_readers, or_none=True)
    return load_tile_encoder(
        settings.encoder,
        weights=settings.weights,
        device=settings.device,
        precision=settings.precision,
    )


@dataclass(frozen=True)
class EmbedTilesWork(SlideWork):
    """Makes the features file of one slide.

    Attributes:
        layout: Paths of the output folder.
        stream: Turns tiles into features.
        settings: How it runs.
        overwrite: Whether outputs made with other settings are replaced.
    """

    unit = "tile"
    reads_ahead = True
    layout: OutputLayout
    stream: TileStream
    settings: EmbedTilesSettings
    overwrite: bool = False

    @property
    def encoder(self) -> TileEncoder:
        """What the stream encodes with."""
        return self.stream.encoder

    def count(self, row: SlideRow) -> int:
        """Tiles of a slide."""
        return origin_of(self.layout.tiles(row.slide_id)).num_tiles

    def claimed(self, row: SlideRow) -> Path:
        """The features file."""
        return self.layout.features(row.slide_id, self.encoder.spec.name)

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        return self.layout.tiles(row.slide_id), self.claimed(row)

    @property
    def device(self) -> str:
        """See `SlideWork`."""
        return str(self.encoder.device)

    def fed_to(self, encoder: TileEncoder) -> "EmbedTilesWork":
        """The same work by an encoder that gives the same features from another place."""
        return replace(self, stream=self.stream.with_encoder(encoder))

    @property
    def time_limit_s(self) -> float | None:
        """See `SlideWork`."""
        return self.settings.slide_timeout

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Encodes the tiles of one slide, from the batch on that an earlier run had reached."""
        tile_set = self._tile_set(row)
        path = self.layout.features(row.slide_id, self.encoder.spec.name)
        identity: Identity = {
            "tiles": tile_set.identity,
            "tile_encoder": self.encoder.identity(),
            "feature_dtype": self.settings.feature_dtype,
        }
        writer = partial(
            FeatureWriter,
            path,
            tile_set,
            self.encoder.feature_dim,
            self.settings.feature_dtype,
            identity,
            self.encoder.identity(),
            self.stream.batch_size,
        )
        how = self.settings.how_to_open()
        encoding = SlideEncoding(
            self.stream,
            tile_set,
            partial(open_planned, row, tile_set, self.settings.reader, how),
            self.settings.max_unreadable,
            progress,
        )
        num_mended = 0
        # Tiles that could not be judged before may have been since: other tiles, same settings.
        already = not self.overwrite and existing_output(
            path,
            identity,
            tile_set.fingerprint,
            input_digest=content_digest(tile_digests(tile_set)),
        )
        if already:
            file = open_features(path)
            progress.advance(tile_set.num_tiles, done_before=True)
            if file.num_unreadable:
                num_mended = encoding.mend(file, writer)
                encoding.check(file.num_unreadable - num_mended)
        else:
            with writer() as new:
                encoding.encode(new)
                new.finish()
        file = open_features(path)
        mended = f", {num_mended} of them could not be read before" if num_mended else ""
        return SlideResult(
            path,
            self._summary(file, mended, encoding.note),
            file.num_tiles,
            num_unreadable=file.num_unreadable,
            already_done=already and not num_mended,
        )

    def _tile_set(self, row: SlideRow) -> TileSet:
        return planned_tiles(self.layout, row, self.settings.reader)

    def _summary(self, file: FeatureFile, mended: str, note: str) -> str:
        text = f"{file.num_tiles} x {file.feature_dim} features{mended}"
        if file.num_unreadable:
            text += f", {file.num_unreadable} tiles unreadable{note}"
        if file.num_empty:
            text += f", {file.num_empty} tiles without stored bytes"
        found, wanted = file.target_mpp, self.encoder.spec.target_mpp
        if abs(found / wanted - 1) > MPP_TOLERANCE:
            text += f"; warning: tiles at {found:g} mpp, the encoder was trained at {wanted:g}"
        return text
