"""What ranks run in the tests of traffic: bytes sent, and ranks that die or hang."""

import os
import signal
import time

import torch
import torch.distributed as dist
from rank_attention import Case
from torch import nn

from slidenet.core.errors import ParallelError
from slidenet.parallel import (
    apply_sequence_parallel,
    chunks_of,
    even_chunks,
    make_mesh,
    parallel_dilated_attention,
    sync_gradients,
)
from slidenet.slide_encoders import LongNetViT


def received_bytes(rank: int, num_ranks: int, cases: list[Case]) -> list[list[int]]:
    """Bytes this rank received from others in each all-to-all: forward, backward, of each case."""
    found: list[list[int]] = []
    real = dist.all_to_all_single

    def counting(received, sent, receive_counts, send_counts, **settings):
        assert receive_counts[rank] == 0 == send_counts[rank], "a rank sends to itself"
        found[-1].append(received.numel() * received.element_size())
        return real(received, sent, receive_counts, send_counts, **settings)

    dist.all_to_all_single = counting
    for case in cases:
        found.append([])
        chunks = chunks_of(case.sizes) if case.sizes else even_chunks(case.length, num_ranks)
        low, high = chunks.span(rank)
        tensors, _ = case.inputs()
        q, k, v = (x[:, low:high].clone().requires_grad_() for x in tensors[:3])
        out, _ = parallel_dilated_attention(
            q, k, v, case.config, dist.group.WORLD, chunks=chunks, causal=case.causal
        )
        out.sum().backward()
    dist.all_to_all_single = real
    return found


def lose_a_rank(rank: int, num_ranks: int, how: str) -> tuple[float, str]:
    """Trains until the last rank dies or hangs in a backward; seconds until the error, its text."""
    mesh = make_mesh()
    model = LongNetViT(
        feature_dim=8, embed_dim=16, depth=2, num_heads=4, ffn_dim=16,
        segment_lengths=(8, 64), dilation_rates=(1, 2), dropout=0.0,
    )  # fmt: skip
    apply_sequence_parallel(model, mesh)
    features = torch.randn(1, 50, 8, generator=torch.Generator().manual_seed(0))
    grid_xy = torch.arange(100).view(1, 50, 2)
    start = time.monotonic()
    try:
        for step in range(3):
            loss = model(features, grid_xy).square().sum()
            if step == 1 and rank == num_ranks - 1:
                if how == "dies":
                    model.blocks[1].attention.q_proj.weight.register_hook(_die)
                else:
                    time.sleep(60)
            loss.backward()
            sync_gradients(model, mesh)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    except ParallelError as error:
        return time.monotonic() - start, str(error)
    return time.monotonic() - start, "no error"


def _die(grad: torch.Tensor) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
