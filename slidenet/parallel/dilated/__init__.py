"""Dilated attention of one sequence whose chunks lie on several ranks."""

from slidenet.parallel.dilated.attention import agree_on_chunks, parallel_dilated_attention

__all__ = ["agree_on_chunks", "parallel_dilated_attention"]
