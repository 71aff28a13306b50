"""Floor 1: the sparse attention family behind one protocol, with one explicit-mask oracle."""

from slidenet.attention.dilated.attention import DilatedAttention, attend_dilated, dilated_attention
from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.dilated.reference import reference_dilated_attention
from slidenet.attention.dilated.unseen import unseen_offsets, unseen_positions, warn_of_unseen
from slidenet.attention.kernels.backends import (
    attend,
    choose_kernel,
    explain_backends,
    force_backend,
)
from slidenet.attention.merge import merge_attention
from slidenet.attention.packed import attend_packed
from slidenet.attention.patterns.bigbird import BigBirdAttention
from slidenet.attention.patterns.block_sparse import (
    Blocks,
    BlockSparsePattern,
    FixedBlockPattern,
)
from slidenet.attention.patterns.dense import DenseAttention
from slidenet.attention.patterns.fixed import FixedAttention
from slidenet.attention.patterns.longformer import LongformerAttention
from slidenet.attention.patterns.sliding_window import SlidingWindowAttention
from slidenet.attention.patterns.strided import StridedAttention
from slidenet.attention.patterns.topk_blocks import TopKBlocksAttention
from slidenet.attention.protocol import AttentionPattern, AttentionWarning, check_inputs
from slidenet.attention.reference import reference_attention
from slidenet.attention.registry import ATTENTION_PATTERNS, make_attention

__all__ = [
    "ATTENTION_PATTERNS",
    "AttentionPattern",
    "AttentionWarning",
    "BigBirdAttention",
    "BlockSparsePattern",
    "Blocks",
    "DenseAttention",
    "DilatedAttention",
    "DilatedConfig",
    "FixedAttention",
    "FixedBlockPattern",
    "LongformerAttention",
    "SlidingWindowAttention",
    "StridedAttention",
    "TopKBlocksAttention",
    "attend",
    "attend_dilated",
    "attend_packed",
    "check_inputs",
    "choose_kernel",
    "dilated_attention",
    "explain_backends",
    "force_backend",
    "make_attention",
    "merge_attention",
    "reference_attention",
    "reference_dilated_attention",
    "unseen_offsets",
    "unseen_positions",
    "warn_of_unseen",
]
