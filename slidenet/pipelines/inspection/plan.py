"""`slidenet plan`: what encoding or training on slides of this size takes, before anything runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from slidenet.core.checks import check_choice, check_positive, check_whole
from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.extras import data_frame
from slidenet.core.text import text_table
from slidenet.parallel.sizing import (
    Precision,
    RankCost,
    Scheme,
    Workload,
    parameter_count,
    rank_cost,
    smallest_ranks,
)
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig
from slidenet.stores import read_tile_set

if TYPE_CHECKING:
    import pandas

USABLE = 0.9
"""Share of a GPU's memory counted on; the rest is the driver's and the allocator's."""

GIGABYTE, MEGABYTE, TERA = 1e9, 1e6, 1e12


@dataclass(frozen=True, slots=True)
class Line:
    """One way of attention: its costs on the ranks shown, and the fewest ranks that fit.

    Attributes:
        scheme: The way of attention.
        encoding: Cost of a forward per rank.
        training: Cost of a training step per rank.
        encoding_ranks: Fewest ranks whose memory holds a forward, or None.
        training_ranks: Fewest ranks whose memory holds a training step, or None.
    """

    scheme: Scheme
    encoding: RankCost
    training: RankCost
    encoding_ranks: int | None
    training_ranks: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The costs of the largest slide, by way of attention.

    Attributes:
        heading: What was asked, line by line.
        ranks: The number of ranks that costs are shown for.
        lines: One per way of attention, dilated first.
    """

    heading: Sequence[str]
    ranks: int
    lines: Sequence[Line]

    @property
    def exit_code(self) -> int:
        """1 when no number of ranks of this memory encodes the slide, else 0."""
        return int(self.lines[0].encoding_ranks is None)

    def table(self) -> str:
        """The heading, then one column per way of attention."""
        rows = [
            ("", *(line.scheme for line in self.lines)),
            *_rows(f"forward, {self.ranks} GPUs", [line.encoding for line in self.lines]),
            ("  fewest GPUs that fit", *(_ranks(line.encoding_ranks) for line in self.lines)),
            *_rows(f"training step, {self.ranks} GPUs", [line.training for line in self.lines]),
            ("  fewest GPUs that fit", *(_ranks(line.training_ranks) for line in self.lines)),
        ]
        header, *cells = rows
        padded = [header[0], *(f"{name:>12}" for name in header[1:])]
        table = text_table(padded, cells, right=range(1, len(header)), rule=False)
        return "\n".join([*self.heading, "", table])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per way of attention and work, "forward" or "training step"; costs per rank.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        works = [
            (line.scheme, work, fewest, cost)
            for line in self.lines
            for work, fewest, cost in (
                ("forward", line.encoding_ranks, line.encoding),
                ("training step", line.training_ranks, line.training),
            )
        ]
        return data_frame(
            [
                {"scheme": scheme, "work": work, "fewest_ranks": fewest, **asdict(cost)}
                for scheme, work, fewest, cost in works
            ]
        )


def plan(
    slides: Slides | None = None,
    out: str | Path | None = None,
    *,
    num_tiles: int | None = None,
    shape: str = "gigapath",
    gpu_memory_gb: float = 80.0,
    sequence_ranks: int | None = None,
    precision: Precision = "bfloat16",
    checkpoint_activations: bool = False,
    whole_inputs: bool = False,
) -> Plan:
    """Say what a slide costs on one or several GPUs, before anything runs.

    Args:
        slides: Manifest slides.csv, or a folder of slides; the largest slide counts.
        out: Output folder of `slidenet preprocess`, where their tiles are counted.
        num_tiles: Tiles of one slide, instead of slides and out.
        shape: Shape of the slide encoder: gigapath, longnet-24l1024d, longnet-12l1536d or
            longnet-small.
        gpu_memory_gb: Memory of one GPU, in 10^9 bytes; a tenth is left to the driver.
        sequence_ranks: GPUs that share the slide; by default the fewest that can train on it.
        precision: bfloat16 (mixed) or float32.
        checkpoint_activations: Whether training recomputes blocks instead of keeping activations.
        whole_inputs: Whether every GPU is given all tile features of the slide, as in training.
    """
    config = LONGNET_CONFIGS[shape]
    check_positive(gpu_memory_gb=gpu_memory_gb)
    check_choice(get_args(Precision), precision=precision)
    check_whole(or_none=True, sequence_ranks=sequence_ranks)
    tiles, heading = _largest(slides, out, num_tiles)
    memory = gpu_memory_gb * GIGABYTE * USABLE
    works = {
        (scheme, training): Workload(
            tiles,
            scheme,
            precision=precision,
            training=training,
            checkpoint_activations=checkpoint_activations and training,
            whole_inputs=whole_inputs,
        )
        for scheme in get_args(Scheme)
        for training in (False, True)
    }
    fewest = {key: smallest_ranks(config, work, memory) for key, work in works.items()}
    shown = sequence_ranks or fewest["dilated", True] or fewest["dilated", False] or 1
    lines = [
        Line(
            scheme,
            rank_cost(config, works[scheme, False], shown),
            rank_cost(config, works[scheme, True], shown),
            fewest[scheme, False],
            fewest[scheme, True],
        )
        for scheme in get_args(Scheme)
    ]
    heading = [
        *heading,
        f"slide encoder {shape}: {parameter_count(config) / 1e6:,.1f} M parameters, "
        f"{_attention(config)}; {precision}"
        + (", blocks recomputed in training" if checkpoint_activations else ""),
        f"GPUs of {gpu_memory_gb:g} GB, of which {gpu_memory_gb * USABLE:g} are counted on",
    ]
    return Plan(heading, shown, lines)


def _largest(
    slides: Slides | None, out: str | Path | None, num_tiles: int | None
) -> tuple[int, list[str]]:
    """Tiles of the largest slide, and how it was found."""
    if (num_tiles is None) == (slides is None):
        raise ConfigError(
            "neither num_tiles nor slides" if num_tiles is None else "num_tiles and slides",
            expected="one of them",
            remedy="give --num-tiles 100000, or --slides slides.csv --out FOLDER",
        )
    if num_tiles is not None:
        return num_tiles, [f"a slide of {num_tiles:,} tiles ({num_tiles + 1:,} tokens)"]
    if out is None:
        raise ConfigError(
            "slides without out",
            expected="the output folder where their tiles are",
            remedy="run slidenet preprocess first, then give --out; or give --num-tiles",
        )
    assert slides is not None
    rows, layout = rows_of(slides), OutputLayout(Path(out))
    paths = {row.slide_id: layout.tiles(row.slide_id) for row in rows}
    counts = sorted(
        (read_tile_set(path).num_tiles, slide_id) for slide_id, path in paths.items()
        if path.exists()
    )  # fmt: skip
    if not counts or not counts[-1][0]:
        raise StoreError(
            f"{out} holds no tiles of the {len(rows)} slides",
            expected="tiles to count",
            remedy="run slidenet preprocess first, or give --num-tiles",
        )
    tiles, largest = counts[-1]
    middle = counts[len(counts) // 2][0]
    heading = [
        f"{len(counts)} slides, median {middle:,} tiles; the largest, {largest}, has {tiles:,} "
        f"({tiles + 1:,} tokens) and is the one below"
    ]
    if len(counts) < len(rows):
        heading.append(f"{len(rows) - len(counts)} more slides have no tiles in {out} yet")
    return tiles, heading


def _attention(config: LongNetConfig) -> str:
    pairs = zip(config.segment_lengths, config.dilation_rates, strict=True)
    return "segments/dilations " + ", ".join(f"{w}/{r}" for w, r in pairs)


def _rows(title: str, costs: Sequence[RankCost]) -> list[tuple[str, ...]]:
    return [
        (title, *("" for _ in costs)),
        ("  TFLOP per GPU", *(f"{cost.step_flops / TERA:,.1f}" for cost in costs)),
        ("  memory per GPU, GB", *(f"{cost.memory / GIGABYTE:,.1f}" for cost in costs)),
        ("  MB received per GPU and layer", *(_megabytes(cost) for cost in costs)),
    ]


def _megabytes(cost: RankCost) -> str:
    times = f"{cost.exchanges} x " if cost.exchanges > 1 and cost.exchanged else ""
    return f"{times}{cost.exchanged / MEGABYTE:,.1f}"


def _ranks(ranks: int | None) -> str:
    return "none do" if ranks is None else f"{ranks:,}"
