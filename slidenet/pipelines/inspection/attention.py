"""`slidenet attention PATTERN`: what a pattern sees and costs, in numbers and figures."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidenet.attention import DilatedAttention
from slidenet.attention.describe import Description, checked_links, describe
from slidenet.attention.dilated.config import DilatedCall
from slidenet.attention.dilated.legacy import check_legacy
from slidenet.core.checks import check_whole
from slidenet.core.errors import AttentionError, ConfigError
from slidenet.core.extras import data_frame
from slidenet.core.text import count_of
from slidenet.pipelines.inspection.attention_ranks import RankShares, share_among_ranks
from slidenet.pipelines.inspection.attention_table import report_text
from slidenet.pipelines.inspection.pattern_settings import PatternSettings, make_pattern
from slidenet.pipelines.settings import settings_with
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig

if TYPE_CHECKING:
    import pandas

FORMAT, VERSION = "slidenet.attention", 1
DEFAULT_HEADS, DEFAULT_HEAD_DIM, DEFAULT_LAYERS = 4, 48, 4


@dataclass(frozen=True)
class AttentionReport:
    """What `slidenet attention` found.

    Attributes:
        description: All numbers of the pattern on one device.
        ranks: What each rank holds and fetches; None without ranks.
        files: What was written.
    """

    description: Description
    ranks: RankShares | None = None
    files: tuple[Path, ...] = ()

    exit_code = 0

    def table(self) -> str:
        """All numbers as a text."""
        return report_text(self.description, self.ranks, self.files)

    def content(self) -> dict[str, Any]:
        """All numbers, as `attention.json` holds them."""
        return dict(json.loads(self.to_json()))

    def to_json(self) -> str:
        """The text of `attention.json`."""
        ranks = None if self.ranks is None else asdict(self.ranks)
        found = {"format": FORMAT, "version": VERSION, **asdict(self.description), "ranks": ranks}
        return json.dumps(found, indent=2, default=str)  # settings of plug-ins may be anything

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per layer: how many keys a token knows of, and how many pairs are not connected.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        found = self.description.reach
        if found is None:
            return data_frame([])
        columns = zip(found.least, found.median, found.greatest, found.unconnected, strict=True)
        return data_frame(
            [
                {
                    "layer": layer,
                    "least": least,
                    "median": median,
                    "greatest": greatest,
                    "unconnected_pairs": unconnected,
                }
                for layer, (least, median, greatest, unconnected) in enumerate(columns, 1)
            ]
        )


def describe_attention(
    pattern: str,
    out: str | Path | None = None,
    asked: PatternSettings | None = None,
    *,
    length: int = 64,
    heads: int | None = None,
    head_dim: int | None = None,
    causal: bool = False,
    layers: int | None = None,
    ranks: int | None = None,
    shape: str | None = None,
    settings: dict[str, Any] | None = None,
    **keywords: Any,
) -> AttentionReport:
    """Show what an attention pattern sees and costs, with any settings and at any length.

    Args:
        pattern: dense, sliding_window, strided, fixed, longformer, bigbird, topk_blocks, dilated,
            or the name or import path of a pattern of another package.
        out: Folder for the numbers (attention.json) and figures (SVG and PNG); default: none.
        asked: Settings of the pattern.
        length: Tokens of the sequence.
        heads: Attention heads; default: 4, or those of the shape.
        head_dim: Features per head, which decide operations and bytes; default: 48, or that of the
            shape.
        causal: Whether a token sees only itself and what comes before.
        layers: Layers to follow what a token learns of; default: 4, or those of the shape; 0:
            costs only.
        ranks: GPUs that share the sequence; default: one has all of it.
        shape: A slide encoder whose segment lengths, dilation rates, heads and layers are taken:
            gigapath, longnet-24l1024d, longnet-12l1536d or longnet-small; dilated only.
        settings: Settings of a pattern of another package that have no flag, such as
            '{"width": 3}'.
        **keywords: Fields of `PatternSettings`.
    """
    asked = settings_with(PatternSettings, asked, keywords)
    check_whole(length=length)
    check_whole(or_none=True, heads=heads, head_dim=head_dim, ranks=ranks)
    check_whole(least=0, or_none=True, layers=layers)
    usual = (DEFAULT_HEADS, DEFAULT_HEAD_DIM, DEFAULT_LAYERS)
    if shape is not None:
        asked, config = _of_shape(shape, pattern, asked)
        usual = (config.num_heads, config.embed_dim // config.num_heads, config.depth)
    heads, head_dim, layers = (
        default if value is None else value
        for value, default in zip((heads, head_dim, layers), usual, strict=True)
    )
    made = make_pattern(pattern, asked, settings)
    beyond = [token for token in asked.global_tokens or () if token >= length]
    if beyond:
        raise AttentionError(
            f"global token {beyond[0]} of {count_of('token', length)}",
            expected=f"positions from 0 to {length - 1}",
            remedy="leave it out, or take a larger --length",
        )
    if isinstance(made, DilatedAttention):
        check_legacy(DilatedCall(made, causal=causal), gaps=False)
    links = None
    if layers or ranks is not None or out is not None:
        links = checked_links(made, length, heads, causal, layers)
    found = describe(made, length, heads, head_dim, causal=causal, layers=layers, links=links)
    if settings and not found.settings:  # of a plug-in that is no dataclass
        found = replace(found, settings=settings)
    shares = None
    if ranks is not None:
        assert links is not None
        shares = share_among_ranks(made, links, head_dim, ranks)
    report = AttentionReport(found, shares)
    if out is None:
        return report
    # Imported here so that the numbers alone need no drawing.
    from slidenet.pipelines.inspection.attention_figures import write_report

    assert links is not None
    return replace(
        report, files=write_report(Path(out), report.content(), found, made, links, shares)
    )


def _of_shape(
    shape: str, pattern: str, asked: PatternSettings
) -> tuple[PatternSettings, LongNetConfig]:
    """The settings with segments and rates of a published shape, and the shape."""
    config = LONGNET_CONFIGS[shape]
    if pattern != "dilated" or asked.segment_lengths or asked.dilation_rates:
        found = "of another pattern" if pattern != "dilated" else "with segments or rates"
        raise ConfigError(
            f"a shape {found}",
            expected="dilated --shape NAME, which brings segment lengths and dilation rates",
        )
    asked = replace(
        asked, segment_lengths=config.segment_lengths, dilation_rates=config.dilation_rates
    )
    return asked, config
