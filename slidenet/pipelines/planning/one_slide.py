"""What encoding or training on a slide of many tiles takes of the memory of GPUs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from slidenet.attention import AttentionPattern, DenseAttention, DilatedAttention
from slidenet.attention.describe import all_settings, chosen_settings
from slidenet.attention.patterns.block_sparse import BlockSparsePattern
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
from slidenet.pipelines.inspection.attention_table import settings_text
from slidenet.pipelines.inspection.pattern_settings import PatternSettings, make_patterns
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig
from slidenet.stores import read_tile_set

if TYPE_CHECKING:
    import pandas

USABLE = 0.9
"""Share of a GPU's memory counted on; the rest is the driver's and the allocator's."""

GIGABYTE, MEGABYTE, TERA = 1e9, 1e6, 1e12


class Way(NamedTuple):
    """A way of attention, as a column is named and as it is sized."""

    name: str
    scheme: Scheme
    pattern: AttentionPattern | None = None

    @property
    def is_shared(self) -> bool:
        """Whether it runs on several GPUs."""
        return self.scheme != "alone"


@dataclass(frozen=True, slots=True)
class Line:
    """One way of attention: its costs on the ranks shown, and the fewest ranks that fit.

    Attributes:
        scheme: The way of attention: the name of a pattern, or "ring".
        encoding: Cost of a forward per rank.
        training: Cost of a training step per rank. Both are of one rank (`num_ranks`) where the
            attention does not run across ranks.
        encoding_ranks: Fewest ranks whose memory holds a forward, or None.
        training_ranks: Fewest ranks whose memory holds a training step, or None.
        is_shared: Whether this attention runs across ranks.
    """

    scheme: str
    encoding: RankCost
    training: RankCost
    encoding_ranks: int | None
    training_ranks: int | None
    is_shared: bool = True


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """The costs of the largest slide, by way of attention.

    Attributes:
        heading: What was asked, line by line.
        ranks: The number of ranks that costs are shown for.
        lines: One per way of attention: those asked for, dense attention, ring attention.
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
            *_rows("encoding", self.ranks, self.lines),
            *_rows("training", self.ranks, self.lines),
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


def plan_slide(
    slides: Slides | None = None,
    out: str | Path | None = None,
    asked: PatternSettings | None = None,
    *,
    recursive: bool = False,
    num_tiles: int | None = None,
    shape: str = "gigapath",
    attention: Sequence[str] | None = None,
    gpu_memory_gb: float = 80.0,
    sequence_ranks: int | None = None,
    precision: Precision = "bfloat16",
    checkpoint_activations: bool = False,
    whole_inputs: bool = False,
    settings: dict[str, Any] | None = None,
) -> SlidePlan:
    """What one slide costs on one or several GPUs; the arguments are those of `plan`."""
    config = LONGNET_CONFIGS[shape]
    check_positive(gpu_memory_gb=gpu_memory_gb)
    check_choice(get_args(Precision), precision=precision)
    check_whole(or_none=True, sequence_ranks=sequence_ranks)
    tiles, heading = _largest(slides, out, num_tiles, recursive)
    memory = gpu_memory_gb * GIGABYTE * USABLE
    ways = _ways(config, attention, asked or PatternSettings(), settings)
    works = [
        [
            Workload(
                tiles,
                way.scheme,
                way.pattern,
                precision=precision,
                training=training,
                checkpoint_activations=checkpoint_activations and training,
                whole_inputs=whole_inputs,
            )
            for training in (False, True)
        ]
        for way in ways
    ]
    fewest = [[smallest_ranks(config, work, memory) for work in pair] for pair in works]
    shown = sequence_ranks or fewest[0][1] or fewest[0][0] or 1
    lines = []
    for way, pair, (encoding_ranks, training_ranks) in zip(ways, works, fewest, strict=True):
        encoding, training = (
            rank_cost(config, work, shown if way.is_shared else 1) for work in pair
        )
        lines.append(
            Line(way.name, encoding, training, encoding_ranks, training_ranks, way.is_shared)
        )
    own = any(way.scheme == "dilated" and way.pattern is None for way in ways)
    heading = [
        *heading,
        f"slide encoder {shape}: {parameter_count(config) / 1e6:,.1f} M parameters"
        + (f", {_attention(config)}" if own else "")
        + f"; {precision}"
        + (", blocks recomputed in training" if checkpoint_activations else ""),
        *(line for way in ways for line in _settings(way, tiles + 1)),
        f"GPUs of {gpu_memory_gb:g} GB, of which {gpu_memory_gb * USABLE:g} are counted on",
    ]
    return SlidePlan(heading, shown, lines)


def _ways(
    config: LongNetConfig,
    names: Sequence[str] | None,
    asked: PatternSettings,
    further: dict[str, Any] | None,
) -> list[Way]:
    """The patterns asked for, then dense attention and the ring."""
    names = [config.attention] if names is None else list(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ConfigError(
            f"attention {', '.join(twice)} twice" if twice else "no attention",
            expected="one or several patterns, each once",
        )
    given = asked.given()
    if "dilated" in names and not {"segment_lengths", "dilation_rates"} & set(given):
        asked = replace(
            asked, segment_lengths=config.segment_lengths, dilation_rates=config.dilation_rates
        )
    ways = []
    for pattern in make_patterns(names, asked, further):
        if isinstance(pattern, DilatedAttention):
            is_own = pattern == DilatedAttention(**config.pattern_settings())
            ways.append(Way("dilated", "dilated", None if is_own else pattern))
        elif not isinstance(pattern, DenseAttention):
            ways.append(Way(pattern.name, "alone", pattern))
    return [*ways, Way("dense", "dense"), Way("ring", "ring")]


def _settings(way: Way, tokens: int) -> list[str]:
    """The settings of a pattern that is not the shape's own, and what is not known of it."""
    if way.pattern is None:
        return []
    chosen = chosen_settings(way.pattern, tokens, causal=False)
    text = settings_text(all_settings(way.pattern), chosen) or "no settings"
    lines = [f"{way.name}: {text}"]
    if not way.is_shared and not isinstance(way.pattern, BlockSparsePattern):
        lines.append(
            f"{way.name} is of another package: its memory is counted as that of dense attention"
        )
    return lines


def _largest(
    slides: Slides | None, out: str | Path | None, num_tiles: int | None, recursive: bool
) -> tuple[int, list[str]]:
    """Tiles of the largest slide, and how it was found."""
    if (num_tiles is None) == (slides is None):
        raise ConfigError(
            "neither num_tiles nor slides" if num_tiles is None else "num_tiles and slides",
            expected="one of them",
            remedy="give --slides slides.csv for the plan of a cohort; for one slide --num-tiles "
            "100000, or --slides slides.csv --out FOLDER --largest",
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
    rows, layout = rows_of(slides, recursive=recursive), OutputLayout(Path(out))
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


def _rows(work: str, ranks: int, lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """One kind of work, "encoding" or "training", line by line of the table."""
    costs: list[RankCost] = [getattr(line, work) for line in lines]
    fewest: list[int | None] = [getattr(line, f"{work}_ranks") for line in lines]
    table = [
        ("  TFLOP per GPU", [f"{cost.step_flops / TERA:,.1f}" for cost in costs]),
        ("  memory per GPU, GB", [f"{cost.memory / GIGABYTE:,.1f}" for cost in costs]),
        ("  MB received per GPU and layer", [_megabytes(cost) for cost in costs]),
    ]
    title = "forward" if work == "encoding" else "training step"
    rows: list[tuple[str, ...]] = [(f"{title}, {ranks} GPUs", *("" for _ in lines))]
    for name, cells in table:
        for column, cost in enumerate(costs):
            if cost.num_ranks != ranks:  # this attention does not run on so many
                fits = fewest[column] is not None
                cells[column] = f"{cells[column]} on 1" if fits else "one GPU only"
        rows.append((name, *cells))
    return [*rows, ("  fewest GPUs that fit", *map(_fewest, fewest, lines))]


def _megabytes(cost: RankCost) -> str:
    times = f"{cost.exchanges} x " if cost.exchanges > 1 and cost.exchanged else ""
    return f"{times}{cost.exchanged / MEGABYTE:,.1f}"


def _fewest(ranks: int | None, line: Line) -> str:
    if ranks is None:
        return "none do" if line.is_shared else "none: one GPU only"
    return f"{ranks:,}"
