"""What ranks run in the tests of bag models and FSDP2: gradients and outputs, whole."""

import torch
from rank_models import SHAPE, Classifier, slides, two_steps
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from slidenet.mil.longnet import LongNetMIL
from slidenet.parallel import apply_sequence_parallel, make_mesh, sync_gradients
from slidenet.slide_encoders import LongNetViT


def bag_model(pooling: str) -> LongNetMIL:
    torch.manual_seed(2)
    layers = (1, 3) if pooling == "mean" else None
    return LongNetMIL(LongNetViT(**SHAPE), num_outputs=3, pooling=pooling, layers=layers)


def bag_gradients(model: LongNetMIL) -> dict[str, torch.Tensor]:
    """Logits, attention and gradients of one backward."""
    features, grid_xy, mask, target = slides()
    output = model(features, grid_xy, mask)
    torch.nn.functional.cross_entropy(output.logits, target).backward()
    found = {"logits": output.logits.detach()}
    if output.tile_attention is not None:
        found["attention"] = output.tile_attention.detach()
    return found


def grads_of(model: LongNetMIL) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def bags(rank: int, num_ranks: int) -> dict[str, dict[str, torch.Tensor]]:
    mesh = make_mesh()
    found = {}
    for pooling in ("attention", "mean", "class_token"):
        model = apply_sequence_parallel(bag_model(pooling), mesh)
        outputs = bag_gradients(model)
        sync_gradients(model, mesh)
        found[pooling] = outputs | grads_of(model)
    return found


def sharded(rank: int, num_ranks: int) -> dict[str, torch.Tensor]:
    """Weights after two steps with parameters sharded by FSDP2 over data x sequence."""
    mesh = make_mesh(data=2)
    row = mesh.get_local_rank("data")
    model = apply_sequence_parallel(Classifier(), mesh)
    for block in model.encoder.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    weights = two_steps(model, model, slice(row, row + 1), lambda: None)
    return {name: x.full_tensor() if isinstance(x, DTensor) else x for name, x in weights.items()}
