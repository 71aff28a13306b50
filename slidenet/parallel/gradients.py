"""Gradients of parameters over a data x sequence mesh, for loops without DDP or FSDP.

Every rank computes the same loss of its slides, so it counts once per sequence rank, and each
rank's gradient holds what its tokens contributed to all those copies. Summed over the sequence and
divided by its ranks, that is the gradient of the loss; averaged over data, that of the mean loss.
Both together are the mean over all ranks, which is what DDP and FSDP compute by themselves.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from slidenet.parallel.collectives import lost_rank_explained
from slidenet.parallel.mesh import check_mesh

BUCKET_ELEMENTS = 1 << 23
"""Gradients sent at a time: 32 MiB of float32."""


def sync_gradients(model: nn.Module, mesh: DeviceMesh) -> None:
    """Replaces each gradient by its mean over all ranks; after backward, before the step.

    Args:
        model: After `apply_sequence_parallel`, and `backward` of a loss on every rank.
        mesh: The same.

    Raises:
        ParallelError: If the mesh does not fit the ranks, or a rank is lost.
    """
    check_mesh(mesh)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
    for bucket in _buckets(grads):
        flat = torch.cat([grad.flatten() for grad in bucket])
        with lost_rank_explained("the averaging of gradients"):
            dist.all_reduce(flat)
        flat /= mesh.size()
        parts = torch.split(flat, [grad.numel() for grad in bucket])
        for grad, part in zip(bucket, parts, strict=True):
            grad.copy_(part.view_as(grad))


def _buckets(grads: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, up to a size."""
    bucket: list[Tensor] = []
    for grad in grads:
        full = sum(x.numel() for x in bucket) + grad.numel() > BUCKET_ELEMENTS
        if bucket and (full or grad.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket
