"""Attention patterns by name, as configuration files and the slide encoder choose them."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from slidenet.attention.dilated.attention import DilatedAttention
from slidenet.attention.operators import CARRIED
from slidenet.attention.patterns.bigbird import BigBirdAttention
from slidenet.attention.patterns.dense import DenseAttention
from slidenet.attention.patterns.fixed import FixedAttention
from slidenet.attention.patterns.longformer import LongformerAttention
from slidenet.attention.patterns.sliding_window import SlidingWindowAttention
from slidenet.attention.patterns.strided import StridedAttention
from slidenet.attention.patterns.topk_blocks import TopKBlocksAttention
from slidenet.attention.protocol import AttentionPattern
from slidenet.core.errors import AttentionError, PluginError
from slidenet.core.registry import Registry
from slidenet.core.text import name_some

ATTENTION_PATTERNS: Registry[Callable[..., AttentionPattern]] = Registry(
    "attention pattern",
    group="slidenet.attention",
    expected="a class or a function that gives a slidenet.attention.AttentionPattern",
)
for _pattern in (
    BigBirdAttention,
    DenseAttention,
    DilatedAttention,
    FixedAttention,
    LongformerAttention,
    SlidingWindowAttention,
    StridedAttention,
    TopKBlocksAttention,
):
    ATTENTION_PATTERNS.add(_pattern.name, _pattern)
    CARRIED[_pattern.name] = _pattern

ATTENTION_PATTERNS.add_other_names(
    dict.fromkeys(("longnet", "long_net", "dilated_attention", "gigapath"), "'dilated'")
    | dict.fromkeys(("mistral", "swat"), "'sliding_window' (causal=True)")
    | dict.fromkeys(
        (
            "local",
            "local_attention",
            "neighbourhood",
            "sliding",
            "sliding_window_attention",
            "swa",
            "window",
            "windowed",
        ),
        "'sliding_window'",
    )
    | dict.fromkeys(
        ("dilated_sliding_window", "dilated_window"), "'sliding_window' (dilation above 1)"
    )
    | dict.fromkeys(
        (
            "all",
            "eager",
            "flash",
            "flash_attention",
            "flash_attn",
            "full",
            "full_attention",
            "math",
            "scaled_dot_product",
            "sdpa",
            "self_attention",
            "softmax",
            "standard",
            "transformer",
            "vanilla",
        ),
        "'dense' (with flash kernels where the device has them)",
    )
    | dict.fromkeys(
        ("child", "sparse", "sparse_attention", "sparse_transformer"),
        "'strided' or 'fixed' (Sparse Transformer)",
    )
    | dict.fromkeys(("periodic", "strided_attention"), "'strided'")
    | dict.fromkeys(("random", "random_attention"), "'strided' (sampling='random')")
    | dict.fromkeys(("fixed_attention", "strided_fixed", "summary"), "'fixed'")
    | dict.fromkeys(
        ("learned", "learned_sparse", "mixture_of_block_attention", "moba", "top_k", "topk"),
        "'topk_blocks'",
    )
    | dict.fromkeys(("global", "global_local", "led", "long_former"), "'longformer'")
    | dict.fromkeys(("big_bird", "bigbird_attention"), "'bigbird'")
)


def make_attention(name: str, **settings: Any) -> AttentionPattern:
    """The pattern registered under `name`, with its settings.

    Args:
        name: One of `list(ATTENTION_PATTERNS)`, or the name or import path of a pattern of another
            package.
        **settings: Keyword arguments of that pattern.

    Raises:
        UnknownNameError: If there is no such pattern.
        PluginError: If a pattern of another package cannot be loaded, or is none.
        AttentionError: If the pattern lacks such a setting or a setting is out of range.
    """
    factory = ATTENTION_PATTERNS[name]
    known = inspect.signature(factory).parameters
    unknown = sorted(set(settings) - set(known))
    missing = sorted(
        key for key, p in known.items() if p.default is p.empty and key not in settings
    )
    if unknown or missing:
        found = f"has no setting {name_some(unknown)}" if unknown else "lacks settings"
        near = [close for key in unknown for close in get_close_matches(key, known, n=1)]
        remedy = f"give {name_some(missing)}" if missing else ""
        raise AttentionError(
            f"attention pattern {name!r} {found}",
            expected=f"settings among {', '.join(known)}" if known else "no settings",
            remedy=f"did you mean {name_some(near)}?" if near else remedy,
        )
    pattern = factory(**settings)
    if not isinstance(pattern, AttentionPattern):
        raise PluginError(
            f"{name} gives a {type(pattern).__name__}, which is no attention pattern",
            expected="name, mask(), num_pairs() and a call, as the protocol "
            "slidenet.attention.AttentionPattern says",
        )
    return pattern


def settings_of(pattern: object) -> dict[str, Any]:
    """What `make_attention(pattern.name, ...)` needs to make such a pattern, without defaults.

    Args:
        pattern: Of slidenet, or any other dataclass; of others nothing is known.
    """
    if not is_dataclass(pattern):
        return {}
    values = ((f, getattr(pattern, f.name)) for f in fields(pattern))
    return {f.name: value for f, value in values if f.default is MISSING or value != f.default}
