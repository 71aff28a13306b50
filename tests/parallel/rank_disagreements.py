"""What ranks run in the test of agreement: calls that differ on the last rank in one argument."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from rank_models import SHAPE, Classifier, slides

from slidenet.attention import DilatedAttention, DilatedConfig
from slidenet.parallel import (
    apply_sequence_parallel,
    even_chunks,
    gather_chunks,
    make_mesh,
    parallel_dilated_attention,
    tile_span,
)
from slidenet.slide_encoders import LongNetEncoder, LongNetViT
from slidenet.slide_encoders.recipes import RECIPES

Found = dict[str, tuple[str, str, float] | None]


class Attempts:
    """Error, text and seconds of each call; None where nothing was refused."""

    def __init__(self) -> None:
        self.found: Found = {}

    def __call__(self, name: str, call: Callable[[], Any]) -> None:
        dist.barrier()
        start = time.perf_counter()
        try:
            call()
        except Exception as error:
            seconds = time.perf_counter() - start
            self.found[name] = (type(error).__name__, str(error), seconds)
        else:
            self.found[name] = None


def encoder(odd: bool = False, inputs: str = "whole", **settings: Any) -> LongNetViT:
    return apply_sequence_parallel(Classifier(**settings), make_mesh(), inputs=inputs).encoder


def changed(x: torch.Tensor, *place: int) -> torch.Tensor:
    x = x.clone()
    x[place] += 1
    return x


def disagreements(rank: int, num_ranks: int) -> Found:
    """Every call with whole slides and with chunks; the last rank does it otherwise."""
    odd = rank == num_ranks - 1
    attempt = Attempts()
    _whole(attempt, odd, num_ranks)
    _chunks(attempt, odd, rank, num_ranks)
    _modes(attempt, odd)
    _set_up(attempt, odd)
    _attention(attempt, odd)
    return attempt.found


def _whole(attempt: Attempts, odd: bool, num_ranks: int) -> None:
    features, grid_xy, mask, _ = slides()
    model = encoder().eval()
    wanted = model(features, grid_xy, mask)

    def with_inputs(name: str, *inputs: Any, **settings: Any) -> None:
        given = inputs if odd else (features, grid_xy, mask)
        attempt(name, lambda: model(*given, **(settings if odd else {})))

    with_inputs("other slide", torch.randn_like(features), grid_xy.flip(1), mask)
    with_inputs("one feature of one tile", changed(features, 0, 20, 7), grid_xy, mask)
    with_inputs("features in another order", features.flip(-1), grid_xy, mask)
    with_inputs("tiles in another order", features[:, [1, 0, *range(2, 37)]], grid_xy, mask)
    with_inputs("slides in another order", features.flip(0), grid_xy.flip(0), mask.flip(0))
    with_inputs("one cell", features, changed(grid_xy.clamp(max=48), 1, 3, 0), mask)
    with_inputs("columns for rows", features, grid_xy.flip(-1), mask)
    moved = mask.clone()
    moved[1, [0, 30]] = moved[1, [30, 0]]
    with_inputs("mask of equal count", features, grid_xy, moved)
    with_inputs("no mask", features, grid_xy, None)
    with_inputs("length", features[:, :30], grid_xy[:, :30], mask[:, :30])
    if num_ranks > 2:
        attempt("too short", lambda: model(features[:, :1], grid_xy[:, :1]))
    with_inputs("number of slides", features[:1], grid_xy[:1], mask[:1])
    with_inputs("dtype", features.double(), grid_xy, mask)
    with_inputs("pooling", features, grid_xy, mask, pooling="mean")
    with_inputs("state", features, grid_xy, mask, state=2)
    with_inputs("state 'last'", features, grid_xy, mask, state="last")
    with_inputs("no such state", features, grid_xy, mask, state=9)
    with_inputs("no such pooling", features, grid_xy, mask, pooling="men")
    with_inputs("no tensor", "features", grid_xy, mask)
    with_inputs("slide_id", features, grid_xy, mask, slide_id=("a", "b"))
    layers = [0, 2] if odd else [0, 1]
    attempt("layers", lambda: model.pooled_states(features, grid_xy, mask, layers=layers))
    attempt("layers of states", lambda: model.states(features, grid_xy, mask, layers=layers))
    method = model.states if odd else model.pooled_states
    attempt("method", lambda: method(features, grid_xy, mask))
    padding = features.clone()
    padding[~mask] = torch.nan if odd else 3.0
    attempt.found["what masked tiles hold"] = model(padding, grid_xy, mask).equal(wanted)
    real = torch.ones_like(mask) if odd else None
    attempt("a mask of real tiles", lambda: model(features, grid_xy, real))
    attempt.found["afterwards"] = model(features, grid_xy, mask).equal(wanted)
    attempt.found["wanted"] = wanted.detach()


def _chunks(attempt: Attempts, odd: bool, rank: int, num_ranks: int) -> None:
    features, grid_xy, _, _ = slides(equal=True)
    low, high = tile_span(even_chunks(1 + features.shape[1], num_ranks), rank)
    own = (features[:1, low:high], grid_xy[:1, low:high])
    recipes = [RECIPES["gigapath"], RECIPES["gigapath-official" if odd else "gigapath"]]
    model = encoder(inputs="chunk").eval()
    wanted = model(*own, slide_id="a")
    attempt("chunk: other slide", lambda: model(*own, slide_id="b" if odd else "a"))
    attempt("chunk: slide_id on some", lambda: model(*own, slide_id="a" if odd else None))
    attempt("chunk: no slide_id", lambda: model(*own))
    attempt("chunk: names", lambda: model(*own, slide_id=("a", "b") if odd else "a"))
    pooling = "mean" if odd else "class_token"
    tiles = slice(0, 0 if odd else 5)
    attempt("empty rank", lambda: model(own[0][:, tiles], own[1][:, tiles], slide_id="a"))
    attempt("chunk: pooling", lambda: model(*own, slide_id="a", pooling=pooling))
    attempt("chunk: state", lambda: model(*own, slide_id="a", state=1 + odd))
    attempt("chunk: states", lambda: model.states(*own, layers=[1 + odd], slide_id="a"))
    broken = own[0].clone()
    broken[0, 2, 0] = torch.nan
    attempt("chunk: NaN", lambda: model(broken if odd else own[0], own[1], slide_id="a"))
    for name, recipe in zip(("same recipe", "recipe"), recipes, strict=True):
        shared = LongNetEncoder("small", model, recipe, precision="float32")
        attempt(f"chunk: {name}", lambda shared=shared: shared(*own, slide_id="a"))
    whole = LongNetEncoder("small", encoder().eval(), recipes[1], precision="float32")
    attempt("recipe", lambda: whole(features, grid_xy))
    attempt.found["chunk: afterwards"] = model(*own, slide_id="a").equal(wanted)


def _modes(attempt: Attempts, odd: bool) -> None:
    features, grid_xy, mask, _ = slides()
    model = encoder(dropout=0.5, drop_path=0.5)
    inputs = (features, grid_xy, mask)

    def cast(dtype: torch.dtype, enabled: bool) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            return model(*inputs)

    torch.manual_seed(7)
    model.eval()
    attempt("autocast", lambda: cast(torch.bfloat16, odd))
    attempt("autocast dtype", lambda: cast(torch.float16 if odd else torch.bfloat16, True))
    quiet = torch.no_grad() if odd else contextlib.nullcontext()
    with quiet:
        attempt("gradients", lambda: model(*inputs))
    model.blocks[0].ffn.fc1.weight.requires_grad_(not odd)
    attempt("frozen", lambda: model(*inputs))
    model.blocks[0].ffn.fc1.weight.requires_grad_()
    model.checkpoint_activations = odd
    attempt("checkpoint_activations", lambda: model(*inputs))
    model.checkpoint_activations = False
    model.train(odd)
    attempt("train mode", lambda: model(*inputs))
    model.train().blocks[1].train(not odd)
    attempt("train mode of a block", lambda: model(*inputs))
    _held(attempt, odd, model.eval(), inputs)
    model.eval()
    with torch.no_grad():
        attempt("same weights", lambda: model(*inputs))
        state = model.state_dict()
        if odd:
            model.load_state_dict(state | {"norm.bias": state["norm.bias"] + 1e-6})
        attempt("weights loaded later", lambda: model(*inputs))
    attempt.found["draws"] = torch.rand(()).item()
    if odd:
        model.half()
    attempt("weights in half", lambda: model(*inputs))


def _held(attempt: Attempts, odd: bool, model: LongNetViT, inputs: Any) -> None:
    """Values of modules, and weights while gradients are recorded."""
    for path, name in (
        ("blocks.1", "drop_path"),
        ("blocks.2.dropout", "p"),
        ("dropout", "p"),
        ("norm", "eps"),
        ("blocks.0.ffn.inner_norm", "eps"),
    ):
        module = model.get_submodule(path)
        before = getattr(module, name)
        setattr(module, name, before + 0.125 * odd)
        attempt(f"{path}.{name}", lambda: model(*inputs))
        setattr(module, name, before)
    pattern = model.pattern
    model.blocks[1].attention.pattern = DilatedAttention((4, 11 + odd, 64), (1, 2, 3))
    attempt("pattern of a block", lambda: model(*inputs))
    model.blocks[1].attention.pattern = pattern
    model.train()

    def shift(by: float, inplace: bool) -> None:
        with torch.no_grad():
            if inplace:
                model.norm.bias += by
            else:
                model.load_state_dict(model.state_dict() | {"norm.bias": model.norm.bias + by})

    shift(odd, inplace=True)
    attempt("train: other weights at first", lambda: model(*inputs))
    shift(-float(odd), inplace=True)
    attempt("train: same weights", lambda: model(*inputs))
    shift(0.0, inplace=False)
    attempt("train: same weights loaded", lambda: model(*inputs))
    shift(float(odd), inplace=False)
    attempt("train: other weights loaded", lambda: model(*inputs))
    shift(-float(odd), inplace=False)
    attempt("train: equal again", lambda: model(*inputs))
    if odd:  # on this rank alone, between steps
        shift(1.0, inplace=True)
    attempt("train: other weights on one rank", lambda: model(*inputs))
    if odd:
        shift(-1.0, inplace=True)
    attempt("train: set back", lambda: model(*inputs))
    kept = model.token_sharding.weights
    compared = []
    for load in (False, False, True):
        model(*inputs)
        with torch.no_grad():
            torch._foreach_add_(list(model.parameters()), 0.0)  # as an optimiser does
        if load:
            shift(0.0, inplace=False)
        compared.append(kept.changes(model))
    attempt.found["changes seen"] = compared


def _set_up(attempt: Attempts, odd: bool) -> None:
    attempt("set-up: depth", lambda: encoder(depth=2 + odd))
    attempt("set-up: inputs", lambda: encoder(inputs="chunk" if odd else "whole"))
    attempt("set-up: no inputs of this kind", lambda: encoder(inputs="part" if odd else "whole"))
    attempt("set-up: mesh", lambda: make_mesh(data=2, sequence=2))
    attempt("set-up: mesh of none", lambda: make_mesh(sequence=0))
    dense = LongNetViT(**SHAPE, attention="dense")
    attempt("set-up: dense", lambda: apply_sequence_parallel(dense, make_mesh()))
    other = torch.nn.Linear(2, 2) if odd else Classifier()
    attempt("set-up: no encoder", lambda: apply_sequence_parallel(other, make_mesh()))
    pattern = DilatedAttention((4, 11 + odd), (1, 2))
    made = LongNetViT(**SHAPE, attention=pattern)
    attempt("set-up: pattern", lambda: apply_sequence_parallel(made, make_mesh()))


def _attention(attempt: Attempts, odd: bool) -> None:
    group = dist.group.WORLD
    q = torch.randn(2, 5, 4, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)

    def attend(*tensors: torch.Tensor, width: int = 8, **settings: Any) -> None:
        config = DilatedConfig((4, width), (1, 2))
        parallel_dilated_attention(*tensors, config, group, **settings)

    attempt("attention: config", lambda: attend(q, q, q, width=8 + odd))
    attempt("attention: causal", lambda: attend(q, q, q, causal=odd))
    attempt("attention: mask", lambda: attend(q, q, q, mask=mask if odd else None))
    attempt("attention: heads", lambda: attend(*[q[:, :, : 4 - odd]] * 3))
    attempt("attention: dtype", lambda: attend(*[q.double() if odd else q] * 3))
    attempt("attention: gradients", lambda: attend(q, q, q.clone().requires_grad_(odd)))
    attempt("attention: refused", lambda: attend(q, q, q[:, : 5 - odd]))
    attempt("attention: chunks", lambda: gather_chunks(q[0, :, : 4 - odd], group))
    attempt("attention: another call", lambda: gather_chunks(q, group) if odd else attend(q, q, q))
    attempt("attention: afterwards", lambda: attend(q, q, q, mask=mask))
