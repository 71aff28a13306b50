"""A boundary to `torch.compile` that costs nothing where nobody compiles."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def outside_compiled_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """As `torch.compiler.disable`: a deliberate graph break, and no compilation inside.

    `torch.compiler.disable` imports torch._dynamo (1.2 s and 150 MB, most of it sympy, inductor
    and triton) as soon as it decorates anything; here that waits until a compiler traces the call.
    """
    disabled: Callable[P, R] | None = None

    @wraps(function)
    def boundary(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal disabled
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        if disabled is None:
            disabled = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return boundary
