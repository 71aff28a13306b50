"""Floor 4: one slide across many ranks, with the numbers of one."""

from slidenet.parallel.chunks import (
    Chunks,
    chunks_of,
    even_chunks,
    gather_chunks,
    shard_slides,
    tile_span,
)
from slidenet.parallel.communication import (
    dilated_bytes,
    gathered_branches_bytes,
    ring_bytes,
    ulysses_bytes,
)
from slidenet.parallel.dilated.attention import agree_on_chunks, parallel_dilated_attention
from slidenet.parallel.gradients import sync_gradients
from slidenet.parallel.mesh import make_mesh, sequence_group, start_ranks
from slidenet.parallel.sequence_parallel import apply_sequence_parallel, release_sequence_parallel

__all__ = [
    "Chunks",
    "agree_on_chunks",
    "apply_sequence_parallel",
    "chunks_of",
    "dilated_bytes",
    "even_chunks",
    "gather_chunks",
    "gathered_branches_bytes",
    "make_mesh",
    "parallel_dilated_attention",
    "release_sequence_parallel",
    "ring_bytes",
    "sequence_group",
    "shard_slides",
    "start_ranks",
    "sync_gradients",
    "tile_span",
    "ulysses_bytes",
]
