"""Ranks that are given or asked for different things: an error on all of them, at once."""

import pytest
import torch
from rank_disagreements import disagreements
from rank_launch import run_ranks
from rank_models import Classifier, slides

WANTED = {
    "other slide": "has other features and other grid_xy than",
    "one feature of one tile": "has other features than",
    "features in another order": "has other features than",
    "tiles in another order": "has other features than",
    "slides in another order": "has other mask than",
    "one cell": "has other grid_xy than",
    "columns for rows": "has other grid_xy than",
    "mask of equal count": "has other mask than rank 0; expected",
    "no mask": "has other mask than rank 0; expected",
    "length": "has tiles per slide (padding included) 30 where rank 0 has 37; expected",
    "number of slides": "number of slides 1 where rank 0 has 2",
    "dtype": "has features.dtype torch.float64 where rank 0 has torch.float32; expected",
    "pooling": "has pooling 'mean' where rank 0 has 'class_token'",
    "state": "has state 2 where rank 0 has 'final'",
    "state 'last'": "has state 'last' where rank 0 has 'final'",
    "no such state": "state 9 of a slide encoder of 3 blocks",
    "no such pooling": "pooling is 'men'",
    "no tensor": "'str' object has no attribute",
    "slide_id": "has slide_id ('a', 'b') where rank 0 has None",
    "layers": "has layers (0, 2) where rank 0 has (0, 1)",
    "layers of states": "has layers (0, 2) where rank 0 has (0, 1)",
    "method": "has method 'states' where rank 0 has 'pooled_states'",
    "recipe": "has recipe 'gigapath-official, version 1, cells of frame level0' where rank 0 has "
    "'gigapath, version 1, cells of frame physical'",
    "chunk: other slide": "has slide_id ('b',) where rank 0 has ('a',)",
    "chunk: slide_id on some": "has slide_id ('a',) where rank 0 has None",
    "chunk: names": "2 names in slide_id for 1 slides",
    "chunk: pooling": "has pooling 'mean' where",
    "chunk: state": "has state 2 where rank 0 has 1",
    "chunk: states": "has layers (2,) where rank 0 has (1,)",
    "chunk: NaN": "NaN or infinite features",
    "chunk: recipe": "has recipe 'gigapath-official, version 1",
    "autocast": "has autocast torch.bfloat16 where rank 0 has off",
    "autocast dtype": "has autocast torch.float16 where rank 0 has torch.bfloat16",
    "gradients": "has gradients off where rank 0 has recorded for 67 of 67 parameters; expected",
    "frozen": "has gradients recorded for 66 of 67 parameters where",
    "checkpoint_activations": "has checkpoint_activations True where rank 0 has False",
    "train mode": "has train mode on (49 of 49 modules train) where rank 0 has off (0 of 49",
    "train mode of a block": "has train mode on (35 of 49 modules train) where",
    "blocks.1.drop_path": "has encoder blocks.1.drop_path 0.375 where rank 0 has 0.25; expected",
    "blocks.2.dropout.p": "has encoder blocks.2.dropout.p 0.625 where rank 0 has 0.5; expected",
    "dropout.p": "has encoder dropout.p 0.625 where rank 0 has 0.5; expected",
    "norm.eps": "has encoder norm.eps 0.125001 where rank 0 has 1e-06; expected",
    "blocks.0.ffn.inner_norm.eps": "has encoder blocks.0.ffn.inner_norm.eps 0.12501 where",
    "pattern of a block": "has encoder blocks.1.attention.pattern, which rank 0 has not",
    "train: other weights at first": "has other weights than",
    "train: other weights loaded": "has other weights than",
    "train: other weights on one rank": "has other weights than",
    "weights loaded later": "has other weights than",
    "weights in half": "has dtype of the weights torch.float16 where",
    "set-up: depth": "has config depth 3 where rank 0 has 2, model encoder.blocks.2.",
    "set-up: inputs": "has inputs 'chunk' where rank 0 has 'whole'",
    "set-up: no inputs of this kind": "inputs is 'part'",
    "set-up: no encoder": "a Linear has no LongNet slide encoder",
    "set-up: pattern": "{'segment_lengths': (4, 12), 'dilation_rates': (1, 2)}",
    "attention: config": "has config segment_lengths (4, 9) where rank 0 has (4, 8)",
    "attention: causal": "has causal True where rank 0 has False",
    "attention: mask": "has mask given where rank 0 has not given",
    "attention: heads": "has number of heads 3 where rank 0 has 4",
    "attention: dtype": "has dtype torch.float64 where rank 0 has torch.float32",
    "attention: gradients": "has gradients recorded where rank 0 has off",
    "attention: refused": "q, k, v have shapes",
    "attention: chunks": "has shape beyond the first dimension (3, 8) where rank 0 has (4, 8)",
    "attention: another call": "is at the gathering of chunks, rank 0 at dilated attention",
}
"""What the error names beside the last rank, which differs from all others."""

ALIKE = {
    "set-up: mesh": "mesh of 2 data x 2 sequence ranks for",
    "set-up: mesh of none": "sequence is 0",
    "set-up: dense": "'dense' attention",
    "chunk: no slide_id": "were given chunks of slides and no slide_id",
    "empty rank": "holds no token",
}
"""Where all ranks are refused for the same."""

REFUSED = (": NaN", ": names", "no such", "no tensor", "no inputs", "no encoder", ": refused")
"""The rank that refuses raises its own error; the others quote it."""


@pytest.mark.parametrize("num_ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_every_rank_ends_with_the_same_error(num_ranks):
    parts = run_ranks(disagreements, num_ranks)
    alike = ALIKE | ({"too short": "use at most 2 sequence ranks"} if num_ranks == 3 else {})
    for name, words in (WANTED | alike).items():
        errors = [part.pop(name) for part in parts]
        assert all(errors), f"{name}: no error"
        _, last_text, _ = errors[-1]
        own = any(word in name for word in REFUSED)
        for rank, (kind, text, seconds) in enumerate(errors):
            assert words in text, (name, rank, text)
            assert seconds < 5, (name, rank, seconds)
            if own and rank < num_ranks - 1:
                assert last_text in text, (name, rank, text)
            if name in WANTED and not (own and rank == num_ranks - 1):
                assert kind == "ParallelError", (name, rank, text)
                assert f"rank {num_ranks - 1} " in text, (name, rank, text)
            if not own:
                assert text == last_text, name
    check_what_is_left(parts)


def check_what_is_left(parts):
    """After so many errors the ranks are in step, and what is no difference is none."""
    features, grid_xy, mask, _ = slides()
    with torch.no_grad():
        wanted = Classifier().encoder.eval()(features, grid_xy, mask)
    assert len({part.pop("draws") for part in parts}) == 1, "random numbers are out of step"
    for part in parts:
        torch.testing.assert_close(part.pop("wanted"), wanted, atol=1e-5, rtol=1e-5)
        assert part.pop("changes seen") == [67, 134, -1], (
            "steps are no reason to compare, loads are"
        )
        for name in ("what masked tiles hold", "afterwards", "chunk: afterwards"):
            assert part.pop(name) is True, name
        for name in (
            "a mask of real tiles",
            "chunk: same recipe",
            "same weights",
            "train: same weights",
            "train: same weights loaded",
            "train: equal again",
            "train: set back",
            "attention: afterwards",
        ):
            assert part.pop(name) is None, name
        assert not part, f"not looked at: {list(part)}"
