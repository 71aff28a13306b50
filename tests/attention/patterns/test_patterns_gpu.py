"""Every pattern on a CUDA device gives what it gives on the CPU."""

from itertools import product

import pytest
import torch

from slidenet.attention import attend_packed, make_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"
SETTINGS = {
    "bigbird": {"block_size": 16},
    "dense": {},
    "dilated": {"segment_lengths": (32, 64), "dilation_rates": (1, 2)},
    "fixed": {"stride": 24},
    "longformer": {"window": 40, "global_tokens": (0, 3)},
    "sliding_window": {"window": 40},
    "strided": {"stride": 24, "window": 30},
    "topk_blocks": {"block_size": 16, "top_k": 2},
}
TOLERANCE = {torch.float64: 1e-11, torch.float32: 5e-5, torch.bfloat16: 2e-2}


def both(attend, shape, dtype):
    """Outputs and gradients on the CPU in float64 and on the device; errors must be small."""
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator).to(dtype) for _ in range(4)]
    found = []
    for device, kind in (("cpu", torch.float64), (DEVICE, dtype)):
        *inputs, weight = (x.to(device, kind) for x in given)
        inputs = [x.requires_grad_() for x in inputs]
        out = attend(*inputs)
        assert out.dtype == kind
        found.append([out, *torch.autograd.grad(out, inputs, weight)])
    for want, got in zip(*found, strict=True):
        error = (got.detach().cpu().double() - want.detach()).norm() / want.detach().norm()
        assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    ("name", "dtype"),
    # topk_blocks chooses blocks by rounded scores: in bfloat16 another choice is no mistake.
    [x for x in product(SETTINGS, TOLERANCE) if x != ("topk_blocks", torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_the_device_agrees_with_the_cpu(name, dtype, masked):
    pattern = make_attention(name, **SETTINGS[name])
    mask = torch.arange(131) < torch.tensor([[131], [50]])

    def attend(q, k, v):
        return pattern(q, k, v, mask=mask.to(q.device) if masked else None)[0]

    both(attend, (2, 131, 4, 16), dtype)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_packed_slides_agree_with_the_cpu(name):
    pattern = make_attention(name, **SETTINGS[name])
    both(lambda *x: attend_packed(pattern, *x, [40, 1, 90])[0], (131, 4, 16), torch.float32)
