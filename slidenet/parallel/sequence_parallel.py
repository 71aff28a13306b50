"""Puts a LongNet slide encoder on several ranks, from outside: it does not know about ranks.

The encoder is handed a `SequenceSharding`, which places its tokens; parameters, their names and
every checkpoint stay what they are.
"""

from typing import get_args
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from slidenet.attention import DilatedAttention
from slidenet.core.checks import check_choice
from slidenet.core.errors import ParallelError
from slidenet.parallel.agreement import Fact, agree
from slidenet.parallel.collectives import lost_rank_explained
from slidenet.parallel.forward_facts import SAME_MODEL, Inputs, model_settings
from slidenet.parallel.mesh import check_mesh, data_rank, sequence_group
from slidenet.parallel.token_sharding import SequenceSharding
from slidenet.slide_encoders import LongNetViT


def apply_sequence_parallel(
    model: nn.Module, mesh: DeviceMesh, *, inputs: Inputs = "whole"
) -> nn.Module:
    """Lets every slide encoder within `model` share its slides among ranks; a collective call.

    Parameters are made equal to those of rank 0. Call it before DDP or `fully_shard`, which average
    gradients over all ranks of the mesh, data and sequence: that is the right thing here (see
    `sync_gradients`, for loops without them).

    Args:
        model: A `LongNetViT`, or a module that holds some (a `LongNetEncoder`, a bag model).
        mesh: From `make_mesh`.
        inputs: "whole": every rank is given the same whole slides and takes its chunk itself.
            "chunk": every rank is given its own chunk of each slide, of any sizes, in order.

    Returns:
        The same model.

    Raises:
        ParallelError: On all ranks, if the model of one holds no slide encoder, or one that is not
            dilated; if models, `inputs` or meshes differ; if the mesh does not fit the ranks.
    """
    check_mesh(mesh)
    group = sequence_group(mesh)
    encoders: list[LongNetViT] = []
    refusal: ParallelError | None = None
    try:
        check_choice(get_args(Inputs), error=ParallelError, inputs=inputs)
        encoders = _encoders(model)
    except ParallelError as error:
        refusal = error
    settings = {
        f"{'' if len(encoders) == 1 else f'of encoder {i}, '}{name}": value
        for i, encoder in enumerate(encoders)
        for name, value in model_settings(encoder).items()
    }
    facts = {
        "mesh": Fact((mesh.mesh_dim_names, tuple(mesh.shape)), "make the mesh alike on every rank"),
        "inputs": Fact(inputs, "pass the same inputs=... on every rank"),
        "config": Fact(settings, SAME_MODEL),
        "model": Fact(
            {
                name: _described(x)
                for name, x in (*model.named_parameters(), *model.named_buffers())
            },
            SAME_MODEL,
        ),
    }
    world = dist.group.WORLD
    assert world is not None, "a mesh comes after the process group"
    agree("apply_sequence_parallel", facts, [], world, refusal=refusal, who="rank")
    sharding = SequenceSharding(group, dist.get_rank(group), data_rank(mesh), inputs)
    for encoder in encoders:
        encoder.shard_tokens(sharding)
        if encoder not in _WATCHED:
            encoder.register_load_state_dict_post_hook(_note_loaded)  # type: ignore[no-untyped-call]
            _WATCHED.add(encoder)
    with torch.no_grad(), lost_rank_explained("the broadcast of the parameters"):
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor, src=0)
    return model


_WATCHED: WeakSet[LongNetViT] = WeakSet()
"""Encoders whose loading of weights is noted; it says nothing once they are given back."""


def _note_loaded(encoder: nn.Module, keys: object) -> None:
    """Weights that have just been loaded are compared in the next forward."""
    sharding = getattr(encoder, "token_sharding", None)
    if isinstance(sharding, SequenceSharding):
        sharding.weights.loaded(encoder)


def _encoders(model: nn.Module) -> list[LongNetViT]:
    """Those within the model, once all of them are known to run across ranks."""
    encoders = [module for module in model.modules() if isinstance(module, LongNetViT)]
    if not encoders:
        raise ParallelError(
            f"a {type(model).__name__} has no LongNet slide encoder",
            expected="a model whose slides can be shared among ranks",
            remedy="use the bag model 'longnet' or 'gigapath', or ranks for data only",
        )
    for encoder in encoders:
        if not isinstance(encoder.pattern, DilatedAttention):
            raise ParallelError(
                f"a slide encoder with {encoder.pattern.name!r} attention",
                expected="dilated attention, the pattern that runs across ranks",
                remedy="build it with attention='dilated', or use one sequence rank",
            )
        if encoder.pattern.legacy_readback:
            raise ParallelError(
                "a slide encoder with legacy_readback",
                expected="attention as in the paper, whose outputs belong to their own tokens",
                remedy="leave legacy_readback out, or use one sequence rank",
            )
    return encoders


def _described(x: Tensor) -> str:
    """What must be alike for a broadcast."""
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')} {x.device.type}"


def release_sequence_parallel(model: nn.Module) -> nn.Module:
    """Makes every slide encoder within `model` one of a single device again; parameters stay.

    Returns:
        The same model.
    """
    for module in model.modules():
        if isinstance(module, LongNetViT):
            module.shard_tokens(None)
    return model
