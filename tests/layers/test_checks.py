"""The check of bags gives the mask to go on with, and is the same check as an operator."""

import pytest
import torch

from slidenet.core.errors import EncoderError
from slidenet.layers import checked_mask

MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_the_mask_to_go_on_with():
    bags = torch.ones(2, 3, 4)
    assert checked_mask(bags, MASK, 4) is MASK
    assert checked_mask(bags) is None
    assert torch.equal(torch.ops.slidenet.checked_mask(bags, MASK, 4, "bag"), MASK)
    assert torch.ops.slidenet.checked_mask(bags, None, None, "bag").all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, m: (f, m), r"2 tiles have NaN .*tile 0 of slide 1"),
        (lambda f, m: (f.nan_to_num(), m & False), "slide 0 of the batch has no real tile"),
        (lambda f, m: (f[..., :2], m), r"floats of shape \(B, L, 4\)"),
        (lambda f, m: (f.long(), m), "torch.int64"),
        (lambda f, m: (f.nan_to_num(), m.float()), "the mask is torch.float32"),
    ],
)
def test_the_operator_refuses_as_the_check_does(change, message):
    features = torch.ones(2, 3, 4)
    features[1, :2] = torch.nan
    bad = change(features, torch.ones(2, 3, dtype=torch.bool))
    for check in (
        lambda f, m: checked_mask(f, m, 4, unit="slide"),
        lambda f, m: torch.ops.slidenet.checked_mask(f, m, 4, "slide"),
    ):
        with pytest.raises(EncoderError, match=message):
            check(*bad)
