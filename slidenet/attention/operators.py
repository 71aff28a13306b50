"""Attention as operators of PyTorch: what `torch.compile` and `torch.export` see of a pattern.

A compiler that looked inside would trace loops over views, choose kernels for good and cut the
graph wherever a length is read from a mask. As one operator a call stays whole: kernels are chosen
when it runs (`force_backend` holds), a mask is read when it runs, and bad input is refused by the
same error as without a compiler. Without a compiler none of this is used.

Operators take tensors, numbers and text, so a pattern travels as its name and its settings; those
of other packages cannot be told so, and cut the graph instead.

Shapes: B batch, L positions, H heads, D features per head.
"""

import ast
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from slidenet.attention.graph_break import outside_compiled_graphs
from slidenet.attention.protocol import AttentionPattern, lse_dtype
from slidenet.core.errors import AttentionError

PatternCall = Callable[..., tuple[Tensor, Tensor]]


class OperatorCall(NamedTuple):
    """What a pattern is called with.

    Attributes:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        mask: Bool (B, L), True = real, or None.
        causal: Whether queries see only keys at or before them.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    causal: bool


class Result(NamedTuple):
    """What the forward gave.

    Attributes:
        out: Output (B, L, H, D).
        lse: Log-sum-exp (B, H, L).
        kept: What helps the backward, flat; None where nothing was kept.
    """

    out: Tensor
    lse: Tensor
    kept: Tensor | None


class OperatorPattern(Protocol):
    """What an `AttentionPattern` has beside, to be an operator: its two passes without autograd."""

    name: ClassVar[str]

    def kept_size(self, batch: int, length: int, num_heads: int, head_dim: int) -> int:
        """Most numbers that `forward_keeping` keeps for the backward beside inputs and results."""
        ...

    def forward_keeping(
        self, call: OperatorCall, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As the call: output, log-sum-exp, and with `keep` what helps the backward.

        Raises:
            AttentionError: As the call.
        """
        ...

    def backward_from(
        self, call: OperatorCall, grad_out: Tensor | None, grad_lse: Tensor | None, result: Result
    ) -> tuple[Tensor, ...]:
        """Gradients of q, k and v, given those of the output and of the log-sum-exp (or None)."""
        ...


class KeepsNothing:
    """A pattern whose backward needs inputs and results alone."""

    def kept_size(self, batch: int, length: int, num_heads: int, head_dim: int) -> int:
        """See `OperatorPattern.kept_size`."""
        return 0

    def forward_keeping(
        self: Any, call: OperatorCall, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `OperatorPattern.forward_keeping`."""
        q, k, v, mask, causal = call
        return *self(q, k, v, mask=mask, causal=causal), []


CARRIED: dict[str, type[OperatorPattern]] = {}
"""Classes whose objects can be told by name and settings; frozen dataclasses of plain values."""


class SavedForBackward:
    """Stands in for the context of an `autograd.Function` whose passes are called one by one."""

    def __init__(self, *saved: Tensor | None, **attributes: Any) -> None:
        self.saved_tensors = saved
        self.__dict__.update(attributes)

    def save_for_backward(self, *saved: Tensor | None) -> None:
        """Keeps them."""
        self.saved_tensors = saved

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to do: gradients are given as they are."""


def one_operator(call: PatternCall) -> PatternCall:
    """Decorates the `__call__` of patterns: one operator to a compiler, itself to everyone else."""
    apart = outside_compiled_graphs(call)

    @wraps(call)
    def __call__(
        self: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> tuple[Tensor, Tensor]:
        if not torch.compiler.is_compiling():
            return call(self, q, k, v, mask=mask, causal=causal)
        if not is_carried(self):
            return apart(self, q, k, v, mask=mask, causal=causal)
        keep = torch.is_grad_enabled() and not torch.compiler.is_exporting()
        # On a GPU backends keep different things, and another may be forced in the backward, which
        # therefore computes them once more.
        keep = keep and q.device.type != "cuda"
        keep = keep and (q.requires_grad or k.requires_grad or v.requires_grad)
        out, lse, _ = torch.ops.slidenet.attend(q, k, v, mask, text_of(self), causal, keep)
        return out, lse

    return __call__


def call_pattern(
    pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Any pattern, called from code that may be compiled; those of others cut the graph."""
    if is_carried(pattern):
        return pattern(q, k, v, mask=mask)
    return _call_apart(pattern, q, k, v, mask=mask)


@outside_compiled_graphs
def _call_apart(
    pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    return pattern(q, k, v, mask=mask)


def is_carried(pattern: AttentionPattern) -> bool:
    """Whether a pattern is one of ours, not of a class derived from ours, nor one that opts out.

    `cuts_graphs` opts out: a backward that needs autograd has none inside an operator.
    """
    carried: type | None = CARRIED.get(pattern.name)
    return carried is type(pattern) and not getattr(pattern, "cuts_graphs", False)


def text_of(pattern: Any) -> str:
    """Name and settings of a carried pattern. A compiler traces this: nothing but formatting."""
    names = type(pattern).__dataclass_fields__
    settings = [f"{name!r}: {getattr(pattern, name)!r}" for name in names if name != "name"]
    return f"{pattern.name} {{{', '.join(settings)}}}"


@lru_cache(maxsize=256)
def pattern_of(text: str) -> OperatorPattern:
    """The pattern that `text_of` told.

    Raises:
        AttentionError: If this version has no such pattern, or not with such settings.
    """
    name, _, settings = text.partition(" ")
    try:
        return CARRIED[name](**ast.literal_eval(settings))
    except (KeyError, TypeError, ValueError) as error:
        raise AttentionError(
            f"the compiled or exported attention {text!r}",
            expected=f"one of {sorted(CARRIED)} with settings of this version of slidenet",
            remedy="export the model anew with this version",
        ) from error


@torch.library.custom_op(
    "slidenet::attend",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? mask, str pattern, bool causal, bool keep)"
    " -> (Tensor, Tensor, Tensor)",
)
def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, pattern: str, causal: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, L, H, D), log-sum-exp (B, H, L), and what is kept, flat and filled up."""
    found = pattern_of(pattern)
    out, lse, parts = found.forward_keeping(OperatorCall(q, k, v, mask, causal), keep)
    kept = q.new_empty(found.kept_size(*q.shape) if keep else 0)
    start = 0
    for part in parts:
        kept[start : start + part.numel()].view(part.shape).copy_(part)
        start += part.numel()
    kept[start:].zero_()
    return out.contiguous(), lse.contiguous(), kept


@_attend.register_fake
def _fake_attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, pattern: str, causal: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    # What does not fit is refused when it runs.
    batch, length, num_heads, head_dim = q.shape if q.ndim == 4 else (0, 0, 0, 0)
    lse = q.new_empty((batch, num_heads, length), dtype=lse_dtype(q.dtype))
    size = pattern_of(pattern).kept_size(batch, length, num_heads, head_dim) if keep else 0
    return q.new_empty(q.shape), lse, q.new_empty(size)


@torch.library.custom_op(
    "slidenet::attend_backward",
    mutates_args=(),
    schema="(Tensor? grad_out, Tensor? grad_lse, Tensor q, Tensor k, Tensor v, Tensor? mask,"
    " Tensor out, Tensor lse, Tensor kept, str pattern, bool causal) -> (Tensor, Tensor, Tensor)",
)
def _attend_backward(
    grad_out: Tensor | None,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    kept: Tensor,
    pattern: str,
    causal: bool,
) -> tuple[Tensor, ...]:
    """Gradients of q, k and v."""
    call = OperatorCall(q, k, v, mask, causal)
    result = Result(out, lse, kept if kept.numel() else None)
    grads = pattern_of(pattern).backward_from(call, grad_out, grad_lse, result)
    return tuple(grad.contiguous() for grad in grads)


@_attend_backward.register_fake
def _fake_attend_backward(
    grad_out: Tensor | None, grad_lse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (q, k, v))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, mask, ctx.pattern, ctx.causal, _ = inputs
    ctx.save_for_backward(q, k, v, mask, *output)
    ctx.set_materialize_grads(False)


def _gradients(
    ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_out is None and grad_lse is None:
        return (None,) * 7
    tensors = (grad_out, grad_lse, *ctx.saved_tensors)
    grads = torch.ops.slidenet.attend_backward(*tensors, ctx.pattern, ctx.causal)
    return *grads, None, None, None, None


def _refuse_second_derivative(ctx: Any, *grads: Tensor | None) -> None:
    raise AttentionError("a second derivative through attention", expected="first derivatives only")


_attend.register_autograd(_gradients, setup_context=_save)
_attend_backward.register_autograd(_refuse_second_derivative)
