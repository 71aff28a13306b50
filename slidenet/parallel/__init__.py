"""Floor 2: one slide across many ranks, with the numbers of one."""

from slidenet.parallel.chunks import Chunks, chunks_of, even_chunks
from slidenet.parallel.dilated import agree_on_chunks, parallel_dilated_attention

__all__ = [
    "Chunks",
    "agree_on_chunks",
    "chunks_of",
    "even_chunks",
    "parallel_dilated_attention",
]
