"""What ranks run in the tests of attention: their chunks of many cases in one process."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from slidenet.attention import DilatedConfig, attend_dilated
from slidenet.parallel import chunks_of, even_chunks, parallel_dilated_attention

GIGAPATH = {
    "segment_lengths": (1024, 5792, 32768, 185363, 1048576),
    "dilation_rates": (1, 2, 4, 8, 16),
}


@dataclass(frozen=True)
class Case:
    """One input and its settings; `sizes` are the chunks, even where None."""

    length: int
    config: DilatedConfig
    causal: bool = False
    mask: str = ""
    sizes: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float32
    heads: int = 4
    head_dim: int = 8
    batch: int = 1
    lse_gradient: bool = False
    seed: int = field(default=0, kw_only=True)

    def inputs(self) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """q, k, v, gradients of output and log-sum-exp; the mask."""
        generator = torch.Generator().manual_seed(self.length + self.seed)
        shape = (self.batch, self.length, self.heads, self.head_dim)
        tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]
        lse_shape = (self.batch, self.heads, self.length)
        tensors.append(torch.randn(lse_shape, generator=generator, dtype=torch.float64))
        return [x.to(self.dtype) for x in tensors], self.real(generator)

    def real(self, generator: torch.Generator) -> torch.Tensor | None:
        """No mask, padding at the end of all but the first entry, or gaps as well."""
        if not self.mask:
            return None
        mask = torch.ones(self.batch, self.length, dtype=torch.bool)
        for b in range(self.batch):
            mask[b, self.length - b * self.length // (self.batch + 1) :] = False
        if self.mask == "gaps":
            mask &= torch.rand(mask.shape, generator=generator) < 0.8
        return mask


def chunk_results(rank: int, num_ranks: int, cases: list[Case]) -> list[list[torch.Tensor]]:
    """Output, log-sum-exp and gradients of q, k, v of this rank's chunk, for each case."""
    return [_chunk(rank, num_ranks, case) for case in cases]


def _chunk(rank: int, num_ranks: int, case: Case) -> list[torch.Tensor]:
    group = dist.group.WORLD
    tensors, mask = case.inputs()
    chunks = chunks_of(case.sizes) if case.sizes else even_chunks(case.length, num_ranks)
    low, high = chunks.span(rank)
    q, k, v, grad = (x[:, low:high].clone() for x in tensors[:4])
    grad_lse = tensors[4][..., low:high]
    own_mask = None if mask is None else mask[:, low:high]
    if own_mask is not None:
        for x in (q, k, v):
            x[~own_mask] = torch.nan  # what padding holds must not matter
    for x in (q, k, v):
        x.requires_grad_()
    out, lse = parallel_dilated_attention(
        q, k, v, case.config, group, mask=own_mask, causal=case.causal
    )
    _backward(case, out, lse, grad, grad_lse)
    return [x.detach() for x in (out, lse, q.grad, k.grad, v.grad)]


def _backward(case: Case, out: Any, lse: Any, grad: Any, grad_lse: Any) -> None:
    loss = (out * grad).sum()
    if case.lse_gradient:
        loss = loss + torch.where(lse > -torch.inf, lse * grad_lse, 0.0).sum()
    loss.backward()


def single_results(case: Case) -> list[torch.Tensor]:
    """The same on one device."""
    tensors, mask = case.inputs()
    q, k, v = (x.clone().requires_grad_() for x in tensors[:3])
    out, lse = attend_dilated(q, k, v, case.config, mask=mask, causal=case.causal)
    _backward(case, out, lse, tensors[3], tensors[4])
    return [x.detach() for x in (out, lse, q.grad, k.grad, v.grad)]


def joined(parts: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Chunks of all ranks put together."""
    whole = []
    for i, dim in enumerate((1, 2, 1, 1, 1)):
        whole.append(torch.cat([part[i] for part in parts], dim=dim))
    return whole
