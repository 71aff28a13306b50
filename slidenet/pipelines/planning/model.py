"""How long n machines work on a cohort: arithmetic on what was measured. No files, no clock.

A machine works as the verbs do. In `preprocess` it takes one slide after the other; slides of an
object store are fetched meanwhile. In `embed-tiles` tiles are read, decoded, encoded and written at
the same time, so that the slowest of these decides, except that what computes on the same cores
shares them. `embed-slides` follows.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from slidenet.core.arrays import Float64Array, IntArray

Stage = Literal["tissue", "network", "decode", "encode", "write", "slides", "slide encoder"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What there is to do, slide by slide.

    Attributes:
        tiles: float64 (S,), tiles of each slide that will be worked on.
        tissue_s: float64 (S,), seconds in which one process finds its tissue and tiles.
        fetched: float64 (S,), bytes to be fetched before anything of a slide can be read; 0 where
            it is read in place.
        read: float64 (S,), bytes that encoding reads of a slide in place, or fetches again.
        written: float64 (S,), bytes of its outputs.
        shards: int64 (S,), which of the shards takes it; None: machines take slides from one list.
    """

    tiles: Float64Array
    tissue_s: Float64Array
    fetched: Float64Array
    read: Float64Array
    written: Float64Array
    shards: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """What one process can do, each rate with nothing else at work. All are above zero.

    Attributes:
        decode: Tiles per second that are read, decoded, made ready and written, without encoding.
        encode: Tiles per second that are encoded.
        shares_cores: Whether decoding and encoding compute on the same cores.
        together: Tiles per second when both are done at once, as measured; None: not measured.
        slide_s: Seconds of a slide in `embed-tiles` that are not of its tiles.
        embedding_slide_s: Seconds of a slide in `embed-slides` that are not of its tiles.
        embedding_tile_s: Seconds of a tile in `embed-slides`.
        start_s: Seconds until the first slide begins: Python, its libraries, weights.
        read: Bytes per second from where slides lie.
        write: Bytes per second to where results go.
    """

    decode: float
    encode: float
    shares_cores: bool
    together: float | None = None
    slide_s: float = 0.0
    embedding_slide_s: float = 0.0
    embedding_tile_s: float = 0.0
    start_s: float = 0.0
    read: float = float("inf")
    write: float = float("inf")

    @property
    def tile_s(self) -> float:
        """Seconds per tile of `embed-tiles` as far as it computes.

        The parts alone are combined as they are done, sharing cores or not; `overlap` says by how
        much that was off.
        """
        return self.overlap * self._combined

    @property
    def overlap(self) -> float:
        """Measured seconds per tile, as a multiple of what the parts alone say; 1: as they say."""
        return 1.0 if self.together is None else 1 / (self.together * self._combined)

    @property
    def _combined(self) -> float:
        decode, encode = 1 / self.decode, 1 / self.encode
        return decode + encode if self.shares_cores else max(decode, encode)

    def faster(self, stage: Stage, factor: float) -> "Rates":
        """The rates with one stage so many times as fast, in the same overlap."""
        changed: Mapping[str, Any] = {
            "network": {"read": self.read * factor},
            "decode": {"decode": self.decode * factor},
            "encode": {"encode": self.encode * factor},
            "write": {"write": self.write * factor},
            "slides": {"slide_s": self.slide_s / factor},
            "slide encoder": {
                "embedding_slide_s": self.embedding_slide_s / factor,
                "embedding_tile_s": self.embedding_tile_s / factor,
            },
        }.get(stage, {})
        rates = replace(self, **changed)
        if self.together is None:
            return rates
        return replace(rates, together=1 / (self.overlap * rates._combined))


@dataclass(frozen=True, slots=True)
class Machines:
    """Who works.

    Attributes:
        number: Machines, each like the one that was measured, or as it was said to be.
        processes: On each, with an encoder of its own.
        read: Bytes per second that the place of slides gives to all of them; None: to each what was
            measured for one.
    """

    number: int = 1
    processes: int = 1
    read: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One verb on one machine that does all.

    Attributes:
        name: The verb.
        seconds: How long it takes.
        alone: Seconds that each stage would take if nothing else had to be done.
        bound: Seconds for which each stage is what is waited for; they sum up to `seconds`.
    """

    name: str
    seconds: float
    alone: Mapping[Stage, float]
    bound: Mapping[Stage, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a cohort takes.

    Attributes:
        seconds: Until the last machine has done, start-up included.
        steps: The verbs, on one machine that does all.
        one_machine_s: Seconds of one machine that does all, start-up included.
        longest_slide_s: Seconds of the slide that takes longest, on one process.
        waits_s: Seconds of the end for which some machine has nothing left to do.
        storage_bound: Whether the place of slides cannot feed so many machines.
        bottleneck: The stage that is waited for longest.
        machine_hours: Hours of all machines, each until the last one has done.
    """

    seconds: float
    steps: Sequence[Step]
    one_machine_s: float
    longest_slide_s: float
    waits_s: float
    storage_bound: bool
    bottleneck: Stage
    machine_hours: float
    bound: Mapping[Stage, float] = field(default_factory=dict)


def steps_of(load: Load, rates: Rates) -> list[Step]:
    """The verbs on one process that does all."""
    tissue, network = float(load.tissue_s.sum()), float(load.fetched.sum()) / rates.read
    # The first slide is waited for; the others come while the one before is worked on.
    first = float(load.fetched[0]) / rates.read if len(load.fetched) else 0.0
    seconds = max(tissue + first, network)
    waited: dict[Stage, float] = {"tissue": min(tissue, seconds)}
    if network > tissue:
        waited = {"network": seconds}
    elif first:
        waited["network"] = first
    preprocess = Step("preprocess", seconds, {"tissue": tissue, "network": network}, waited)
    return [preprocess, _embed_tiles(load, rates), _embed_slides(load, rates)]


def _embed_tiles(load: Load, rates: Rates) -> Step:
    tiles, slides = float(load.tiles.sum()), float(rates.slide_s * len(load.tiles))
    alone: dict[Stage, float] = {
        "network": float(load.read.sum()) / rates.read,
        "decode": tiles / rates.decode,
        "encode": tiles / rates.encode,
        "write": float(load.written.sum()) / rates.write,
        "slides": slides,
    }
    computing = tiles * rates.tile_s
    if max(alone["network"], alone["write"]) > computing + slides:
        slowest: Stage = "network" if alone["network"] > alone["write"] else "write"
        return Step("embed-tiles", alone[slowest], alone, {slowest: alone[slowest]})
    bound: dict[Stage, float] = {"slides": slides}
    if rates.shares_cores:
        share = (1 / rates.decode) / (1 / rates.decode + 1 / rates.encode)
        bound |= {"decode": share * computing, "encode": (1 - share) * computing}
    else:
        bound["decode" if alone["decode"] > alone["encode"] else "encode"] = computing
    return Step("embed-tiles", computing + slides, alone, bound)


def _embed_slides(load: Load, rates: Rates) -> Step:
    seconds = rates.embedding_slide_s * len(load.tiles) + rates.embedding_tile_s * float(
        load.tiles.sum()
    )
    return Step("embed-slides", seconds, {"slide encoder": seconds}, {"slide encoder": seconds})


def estimate(load: Load, rates: Rates, machines: Machines | None = None) -> Estimate:
    """What a cohort takes on machines that take slides from one list, or each its shard.

    Raises:
        ValueError: There is no slide.
    """
    machines = machines or Machines()
    if not len(load.tiles):
        raise ValueError("no slide to work on")
    steps = steps_of(load, rates)
    bound = {stage: sum(step.bound.get(stage, 0.0) for step in steps) for stage in STAGES}
    alone = sum(step.seconds for step in steps)
    each = _slide_seconds(load, rates, alone)
    workers = machines.number * machines.processes
    ends = (
        _ends_by_list(each, workers)
        if load.shards is None
        else _ends_by_shard(each, load.shards, machines)
    )
    seconds, storage_bound = float(ends.max()), False
    if machines.read is not None:
        all_read = float((load.fetched + load.read).sum()) / machines.read
        storage_bound = all_read > seconds
        if storage_bound:
            bound = {**bound, "network": max(bound.values()) + all_read}
            seconds = all_read
    seconds += rates.start_s
    return Estimate(
        seconds=seconds,
        steps=steps,
        one_machine_s=max(alone / machines.processes, float(each.max())) + rates.start_s,
        longest_slide_s=float(each.max()),
        waits_s=float(ends.max() - ends.min()),
        storage_bound=storage_bound,
        bottleneck=max(STAGES, key=lambda stage: bound[stage]),
        machine_hours=machines.number * seconds / 3600,
        bound=bound,
    )


def what_helps(
    load: Load, rates: Rates, machines: Machines | None = None, *, factor: float = 2.0
) -> dict[Stage, float]:
    """Seconds until the end if one stage were so many times as fast; only where that helps.

    Args:
        load: What there is to do.
        rates: What a process can do.
        machines: Who works.
        factor: How many times as fast.
    """
    machines = machines or Machines()
    now = estimate(load, rates, machines).seconds
    found: dict[Stage, float] = {}
    for stage in STAGES:
        changed = replace(load, tissue_s=load.tissue_s / factor) if stage == "tissue" else load
        with_more = machines
        if stage == "network" and machines.read is not None:
            with_more = replace(machines, read=machines.read * factor)
        then = estimate(changed, rates.faster(stage, factor), with_more).seconds
        if then < 0.98 * now:
            found[stage] = then
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _slide_seconds(load: Load, rates: Rates, total: float) -> Float64Array:
    """Seconds of each slide, float64 (S,), that sum up to those of all on one process."""
    parts: Sequence[Callable[[], Float64Array]] = (
        lambda: np.maximum(load.tissue_s, load.fetched / rates.read),
        lambda: np.maximum(
            load.tiles * rates.tile_s + rates.slide_s,
            np.maximum(load.read / rates.read, load.written / rates.write),
        ),
        lambda: load.tiles * rates.embedding_tile_s + rates.embedding_slide_s,
    )
    each = np.sum([part() for part in parts], axis=0)
    found: Float64Array = each * (total / each.sum()) if each.sum() else each
    return found


def _ends_by_list(seconds: Float64Array, workers: int) -> Float64Array:
    """When each worker has done, if each takes the next slide as soon as it is free.

    Of workers that get no slide only one is in it.
    """
    ends = [0.0] * min(workers, len(seconds) + 1)
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + float(one))
    return np.array(ends)


def _ends_by_shard(seconds: Float64Array, shards: IntArray, machines: Machines) -> Float64Array:
    """When each machine has done its shard; a slide is never worked on by two processes."""
    longest = np.zeros(machines.number)
    np.maximum.at(longest, shards, seconds)
    sums = np.bincount(shards, weights=seconds, minlength=machines.number)
    found: Float64Array = np.maximum(longest, sums / machines.processes)
    return found
