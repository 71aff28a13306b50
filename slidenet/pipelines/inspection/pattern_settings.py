"""The settings of slidenet's attention patterns as flags, and the pattern they make."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from slidenet.attention import ATTENTION_PATTERNS, AttentionPattern, make_attention
from slidenet.attention.dilated.config import HeadOrder, MixingGradient, Padding
from slidenet.core.errors import AttentionError


@dataclass(frozen=True)
class PatternSettings:
    """Of the pattern; what is not given is the pattern's own default.

    Args:
        segment_lengths: Tokens per segment, one number per branch; dilated.
        dilation_rates: One token in so many is kept, one number per branch; dilated.
        head_order: Which offset a head keeps: released (neighbouring heads alike, as GigaPath) or
            paper (head h keeps h mod rate); dilated.
        padding: What fills up the last segment: released (zeros that are attended to) or masked;
            dilated.
        mixing_gradient: Gradient through the weights that mix branches: released (none) or true;
            dilated. Changes no number shown here.
        legacy_readback: Repeat the released code's fault in segments that are no multiple of their
            rate; dilated.
        window: Keys of the window, the query's own among them: half of it on each side (an even
            number counts as the next odd one), or all up to the query when causal; sliding_window,
            strided, longformer.
        window_rule: What a causal window of w means: keys (w keys up to the query) or half (as in
            older files); sliding_window, strided, longformer.
        dilation: Distance between the keys of a window; sliding_window.
        stride: Length of a period; strided, fixed.
        sampling: Which key of each period: periodic (a multiple of the stride away) or random;
            strided.
        summary_tokens: Last tokens of each period that everyone sees; fixed.
        seed: Chooses what is drawn at random; strided, bigbird.
        global_tokens: Positions that see and are seen by everyone, such as 0,40; longformer.
        block_size: Tokens per block; bigbird, topk_blocks.
        window_blocks: Blocks of the window; bigbird.
        global_blocks: First blocks, which see and are seen by everyone; bigbird.
        random_blocks: Blocks drawn at random for each block; bigbird.
        top_k: Blocks a query chooses, its own among them; topk_blocks.
    """

    segment_lengths: Sequence[int] | None = None
    dilation_rates: Sequence[int] | None = None
    head_order: HeadOrder | None = None
    padding: Padding | None = None
    mixing_gradient: MixingGradient | None = None
    legacy_readback: bool | None = None
    window: int | None = None
    window_rule: Literal["keys", "half"] | None = None
    dilation: int | None = None
    stride: int | None = None
    sampling: Literal["periodic", "random"] | None = None
    summary_tokens: int | None = None
    seed: int | None = None
    global_tokens: Sequence[int] | None = None
    block_size: int | None = None
    window_blocks: int | None = None
    global_blocks: int | None = None
    random_blocks: int | None = None
    top_k: int | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not None; lists as tuples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if value is not None
        }


def make_pattern(
    name: str, asked: PatternSettings, further: Mapping[str, Any] | None = None
) -> AttentionPattern:
    """The pattern of that name with the settings that were given.

    Args:
        name: Of the pattern.
        asked: Settings as flags.
        further: Those of a plug-in that have no flag.

    Raises:
        UnknownNameError: If there is no such pattern.
        AttentionError: If the pattern lacks a setting, misses one, or refuses its value.
    """
    parameters = inspect.signature(ATTENTION_PATTERNS[name]).parameters
    given, further = asked.given(), dict(further or {})
    twice = sorted(set(given) & set(further))
    if twice:
        raise AttentionError(
            f"{_flag(twice[0])} and a setting {twice[0]!r} in --settings", expected="one of them"
        )
    unknown = [key for key in (*given, *further) if key not in parameters]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        own = ", ".join(_flag(key) for key in parameters) or "none"
        raise AttentionError(
            f"the attention pattern {name} has no setting {_flag(unknown[0])}",
            expected=f"its own settings: {own}",
        )
    missing = {"segment_lengths", "dilation_rates"} - set(given) - set(further)
    if name == "dilated" and missing:
        raise AttentionError(
            f"dilated attention without {' and '.join(map(_flag, sorted(missing, reverse=True)))}",
            expected="segment lengths, and a dilation rate for each",
            remedy="give --segment-lengths 16,64 --dilation-rates 1,4 for a short sequence, or "
            "--shape gigapath for the published ones",
        )
    return make_attention(name, **given, **further)


def make_patterns(
    names: Sequence[str], asked: PatternSettings, further: Mapping[str, Any] | None = None
) -> list[AttentionPattern]:
    """Several patterns, each with those of the settings that it has.

    Args:
        names: Of the patterns.
        asked: Settings as flags; each is one of some of the patterns.
        further: Those of plug-ins that have no flag.

    Raises:
        UnknownNameError: If there is no such pattern.
        AttentionError: If no pattern has a setting, or as `make_pattern`.
    """
    if len(names) == 1:
        return [make_pattern(names[0], asked, further)]
    further = further or {}
    known = [set(inspect.signature(ATTENTION_PATTERNS[name]).parameters) for name in names]
    for key in (*asked.given(), *further):
        if not any(key in some for some in known):
            raise AttentionError(
                f"none of the attention patterns {', '.join(names)} has a setting {_flag(key)}",
                expected="settings of at least one of them",
            )
    return [
        make_pattern(
            name,
            PatternSettings(**{k: v for k, v in asked.given().items() if k in some}),
            {k: v for k, v in further.items() if k in some},
        )
        for name, some in zip(names, known, strict=True)
    ]


def _flag(name: str) -> str:
    known = {field.name for field in fields(PatternSettings)}
    return f"--{name.replace('_', '-')}" if name in known else f"{name} (in --settings)"
