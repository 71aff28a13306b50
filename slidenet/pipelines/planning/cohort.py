"""A cohort before its run: looked over, tried on a few slides, measured, and reckoned up."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import ConfigError, PluginError
from slidenet.core.records import SlideRow
from slidenet.pipelines.begun.engine import EngineRecord
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.embed_slides import load_recipe
from slidenet.pipelines.embed_tiles import load_encoder
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.fleet.shards import shard_of
from slidenet.pipelines.planning.cohort_plan import CohortPlan, Times
from slidenet.pipelines.planning.machines import Gpus, gpus_of
from slidenet.pipelines.planning.model import Load, Machines, Rates, estimate, what_helps
from slidenet.pipelines.planning.probe import MOST_SLIDES, Probe, Probed, seconds_of_python
from slidenet.pipelines.planning.sampling import choose
from slidenet.pipelines.planning.settings import PlanningSettings
from slidenet.pipelines.planning.storage import (
    Transfer,
    free_bytes,
    measure_fetching,
    measure_reading,
    measure_writing,
)
from slidenet.pipelines.planning.survey import Workable, survey, workable
from slidenet.pipelines.planning.tissue_sample import (
    TissueSample,
    expand_tiles,
    find_tissue_of_some,
    tiling_of,
)
from slidenet.pipelines.progress.parts import Parts
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
    RunSettings,
)
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.stores.atomic import write_json
from slidenet.stores.features.writer import stored_rows
from slidenet.stores.objects import is_uri, shown_uri
from slidenet.stores.objects.uri import uri_of
from slidenet.tile_encoders import TileEncoder, TileEncoderSpec, get_spec
from slidenet.tile_encoders.engines.choice import choose_engine
from slidenet.weights.device import available_cores

READING_SHARE = 0.05
"""Of the seconds of the probe, what reading files takes."""

FETCHING_SHARE = 0.2
"""The same of fetching objects, which come more slowly."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    """The tile encoder of the run.

    Attributes:
        spec: What it is.
        encoder: With its engine; None where its rate is known and it need not be loaded.
        gpus: Of each machine; None: the device of this machine.
        start_s: Seconds that loading it took.
    """

    spec: TileEncoderSpec
    encoder: TileEncoder | None
    gpus: Gpus | None
    start_s: float

    def __str__(self) -> str:
        text = f"{self.spec.name} ({self.spec.output_dim} features)"
        if self.gpus is not None:
            return f"{text} on {self.gpus.number} x {self.gpus.kind}"
        if self.encoder is None:
            return f"{text}, not loaded"
        return f"{text} by {self.encoder.engine.name} on {self.encoder.device}"


@dataclass(frozen=True, slots=True)
class _Measured:
    """What this machine can do.

    Attributes:
        probed: By the verbs.
        start_s: Seconds until a process has imported them.
        reading: How fast slides come; None where that is given.
        writing: How fast results go, likewise.
    """

    probed: Probed
    start_s: float
    reading: Transfer | None
    writing: Transfer | None


def plan_cohort(
    slides: Slides,
    out: str | Path | None,
    settings: RunSettings,
    asked: PlanningSettings,
    *,
    recursive: bool = False,
    tile_encoder: TileEncoder | None = None,
    fleet: FleetSettings = WHOLE,
) -> CohortPlan:
    """Says what `slidenet run` of these slides will give, take and cost; see `plan`.

    Raises:
        ConfigError: A setting cannot be, or no slide can be worked on.
        SlidenetError: As the verbs: no such encoder, no weights.
    """
    asked.check()
    rows = fleet.share(rows_of(slides, reader=settings.reader, recursive=recursive))
    tiling, bucket = settings.step(PreprocessSettings), uri_of(out)
    out = None if out is None or bucket else Path(out)
    tiler = Tiler.of(tiling)
    with Parts("plan: loading", 2, fleet.display()) as parts:
        parts.begin("tile encoder")
        encoding = _encoding(settings.step(EmbedTilesSettings), asked, out, tile_encoder)
        processes = num_processes(encoding.gpus, fleet)
        parts.begin("slide encoder")
        embedding, started = settings.step(EmbedSlidesSettings), time.monotonic()
        slide_encoder = load_recipe(embedding)
    encoding = replace(encoding, start_s=encoding.start_s + time.monotonic() - started)
    found = survey(
        rows,
        tiler,
        fleet,
        all_headers=asked.all_headers,
        most_fetched=asked.sample,
        seed=asked.sample_seed,
    )
    cohort = workable(found)
    with tempfile.TemporaryDirectory(prefix="slidenet-plan-") as name:
        sample = find_tissue_of_some(
            cohort,
            tiling_of(tiling, out, cohort),
            Path(name) / "sample",
            fleet,
            number=asked.sample,
            seed=asked.sample_seed,
        )
        tiles, tissue_s = expand_tiles(cohort, sample)
        measured = None
        if asked.probe_seconds and sample.done:
            probe = Probe(
                _slides_to_probe(cohort, sample, tiles.each),
                sample.layout,
                Path(name) / "probe",
                settings.step(EmbedTilesSettings),
                embedding,
                slide_encoder,
                encoding.spec,
                encoding.encoder,
                asked.probe_seconds,
                fleet,
            )
            measured = _measure(probe, cohort, asked, out)
    probed = None if measured is None else measured.probed
    itemsize = np.dtype(settings.feature_dtype).itemsize
    row_bytes = encoding.spec.output_dim * itemsize + 21.0 if probed is None else probed.row_bytes
    slide_bytes = 20_000.0 if probed is None else probed.slide_bytes
    per_slide = sample.num_bytes / max(1, len(sample.places))
    rows_of_each = np.array([stored_rows(round(one)) for one in tiles.each])
    each_out = per_slide + slide_bytes + row_bytes * rows_of_each
    plan = CohortPlan(
        asked=asked,
        encoder=str(encoding),
        survey=found,
        cohort=cohort,
        sample=sample,
        tiles=tiles,
        bytes_in=float(cohort.num_bytes.sum()),
        bytes_out=float(each_out.sum()),
        parts_out={
            "tiles, tissue and overlays": per_slide * len(cohort.rows),
            "features": float((slide_bytes + row_bytes * rows_of_each).sum()),
        },
        place="network" if found.in_stores else "disk",
        probed=probed,
        times=None,
        out=out,
        free=None if out is None else free_bytes(out),
        bucket="" if bucket is None else shown_uri(bucket),
    )
    if measured is not None:
        limit = fleet.objects().limit_bytes
        times = _times(plan, encoding, measured, tissue_s, each_out, limit, processes)
        plan = replace(plan, times=times)
    if asked.json is not None:
        write_json(asked.json, plan.record())
    return plan


def _encoding(
    settings: EmbedTilesSettings,
    asked: PlanningSettings,
    out: Path | None,
    given: TileEncoder | None,
) -> _Encoding:
    """The encoder as the run would have it; where its rate is known only what it is."""
    if asked.gpus is not None or asked.tiles_per_second is not None:
        spec = _spec(settings, given)
        gpus = None
        if asked.gpus is not None:
            precision = settings.precision or spec.precision
            gpus = gpus_of(asked.gpus, spec.name, precision, asked.tiles_per_second)
        return _Encoding(spec, None, gpus, 0.0)
    started = time.monotonic()
    encoder = given
    if encoder is None:
        encoder, engine, batch = load_encoder(settings), settings.engine, settings.batch_size
        record = None
        if out is not None:
            record = EngineRecord.of_folder(OutputLayout(out).engine(encoder.spec.name))
        if record is not None:  # what the folder was begun with is gone on with
            engine, batch = record.engine, batch or record.batch_size
        chosen = choose_engine(encoder, engine, batch_size=batch)
        encoder = encoder.with_engine(chosen.engine)
    return _Encoding(encoder.spec, encoder, None, time.monotonic() - started)


def _spec(settings: EmbedTilesSettings, given: TileEncoder | None) -> TileEncoderSpec:
    if given is not None:
        return given.spec
    try:
        return get_spec(settings.encoder)
    except PluginError:  # code of another package, which says what it is when it is loaded
        return load_encoder(settings).spec


def _slides_to_probe(
    cohort: Workable, sample: TissueSample, tiles: Float64Array
) -> Sequence[SlideRow]:
    """Some of the slides that have tiles, of every format, as many as a probe can afford."""
    places = [int(sample.places[n]) for n in sample.done]
    formats = [cohort.formats[place] for place in places]
    drawn = choose(formats, tiles[places], MOST_SLIDES, seed=0)
    return [cohort.rows[places[n]] for n in drawn]


def _measure(
    probe: Probe, cohort: Workable, asked: PlanningSettings, out: Path | None
) -> _Measured:
    reads, writes = asked.read_mb is None, asked.write_mb is None and out is not None
    reading = writing = None
    num_parts = 1 + probe.num_parts + reads + writes
    with Parts("plan: measuring", num_parts, probe.fleet.display()) as parts:
        parts.begin("start of a process")
        start_s = seconds_of_python()
        probed = probe(parts)
        if asked.read_mb is None:
            parts.begin("reading slides")
            reading = _reading(cohort, asked)
        if asked.write_mb is None and out is not None:
            parts.begin("writing results")
            writing = measure_writing(out)
    return _Measured(probed, start_s, reading, writing)


def _times(
    plan: CohortPlan,
    encoding: _Encoding,
    measured: _Measured,
    tissue_s: Float64Array,
    written: Float64Array,
    cache_bytes: int,
    processes: int,
) -> Times:
    asked, cohort, probed = plan.asked, plan.cohort, measured.probed
    rates = _rates(measured, encoding, asked, processes)
    machines = Machines(
        asked.machines,
        processes,
        None if asked.storage_mb is None else asked.storage_mb * 1e6,
    )
    ids = [row.slide_id for row in cohort.rows]
    fetched = np.where(cohort.fetched, cohort.num_bytes, 0.0)
    load = Load(
        plan.tiles.each,
        tissue_s,
        fetched,
        np.where(
            cohort.fetched,
            # A cache that does not hold all of them has none of them when they come again.
            fetched * (fetched.sum() / asked.machines > cache_bytes),
            plan.tiles.each * (probed.read_tile_bytes or 0.0),
        ),
        written,
        np.array([shard_of(one, asked.machines) for one in ids]) if asked.shards else None,
    )
    now = estimate(load, rates, machines)

    def with_tiles(total: float) -> float:
        factor = total / max(1.0, plan.tiles.total)
        changed = replace(load, tiles=load.tiles * factor, read=load.read * factor)
        return estimate(changed, rates, machines).seconds

    return Times(
        load=load,
        rates=rates,
        machines=machines,
        estimate=now,
        low=with_tiles(plan.tiles.low),
        high=with_tiles(min(plan.tiles.high, cohort.lattice.sum())),
        helps=what_helps(load, rates, machines),
        gpus=encoding.gpus,
        cores=asked.cores or available_cores(),
        reading=measured.reading,
        writing=measured.writing,
    )


def num_processes(gpus: Gpus | None, fleet: FleetSettings) -> int:
    """How many processes a machine has, as `--gpus` or `--devices` say."""
    if fleet.devices is None:
        return 1 if gpus is None else gpus.number
    text = str(fleet.devices)
    number = int(text) if text.isdecimal() else len(text.split(","))
    if gpus is not None and gpus.number != number:
        raise ConfigError(
            f"--devices {text} and {gpus.number} x {gpus.kind} as --gpus",
            expected="a process for each GPU",
            remedy=f"leave out --devices, or give --gpus {number}x{gpus.kind}",
        )
    return max(1, number)


def _reading(cohort: Workable, asked: PlanningSettings) -> Transfer | None:
    """How fast slides come from where they lie; of a mixed cohort, from stores."""
    rows = [cohort.rows[place] for place in cohort.at_hand[:200]]  # known to be readable
    uris = [row.slide_path for row in rows if is_uri(row.slide_path)]
    if not uris:
        paths = [Path(row.slide_path) for row in rows]
        seconds = max(0.5, READING_SHARE * asked.probe_seconds)
        return measure_reading(paths, seconds=seconds, seed=asked.sample_seed)
    with tempfile.TemporaryDirectory(prefix="slidenet-plan-") as name:
        seconds = max(1.0, FETCHING_SHARE * asked.probe_seconds)
        return measure_fetching(uris, Path(name), seconds=seconds)


def _rates(found: _Measured, encoding: _Encoding, asked: PlanningSettings, processes: int) -> Rates:
    """What one process of a machine can do, from what was measured and what was said."""
    probed, reading, writing = found.probed, found.reading, found.writing
    more_cores = (asked.cores or available_cores()) / available_cores()
    gpus, on_cpu = encoding.gpus, encoding.gpus is None
    if encoding.encoder is not None:
        on_cpu = encoding.encoder.device.type == "cpu"
    encode = probed.encode or (gpus.rate if gpus else asked.tiles_per_second or 1.0)
    if encoding.encoder is None and on_cpu:
        encode /= more_cores  # as it is given, of however many cores
    measured = Rates(probed.decode, encode, shares_cores=on_cpu, together=probed.together)
    # What was measured took all cores; how well decoding and encoding went together stays.
    share = measured.faster("decode", more_cores / processes)
    if on_cpu:
        share = share.faster("encode", more_cores / processes)
    read = asked.read_mb * 1e6 if asked.read_mb else reading.rate if reading else float("inf")
    write = asked.write_mb * 1e6 if asked.write_mb else writing.rate if writing else float("inf")
    return replace(
        share,
        slide_s=probed.slide_s,
        embedding_slide_s=probed.embedding_slide_s,
        embedding_tile_s=probed.embedding_tile_s,
        start_s=found.start_s + encoding.start_s,
        read=read / processes,
        write=write / processes,
    )
