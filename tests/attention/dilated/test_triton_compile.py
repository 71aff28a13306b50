"""The Triton kernels of dilated attention compile for GPUs that are not at hand.

Triton's compiler needs no GPU; its interpreter, which test_triton.py uses without one,
forgives what the compiler does not (types of loop variables, sizes of blocks, shared memory).
"""

import importlib.util

import pytest
import torch

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.dilated.triton.calls import attend_dilated_triton

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="needs the package triton"
    ),
]

CONFIG = DilatedConfig((1024, 5792, 32768), (1, 2, 4))
TRUE = DilatedConfig((1024, 5792), (1, 2), head_order="paper", mixing_gradient="true")
SHARED_MEMORY = {89: 101_376, 90: 232_448}  # CUDA C++ guide, table of capabilities


class AbsentGpu:
    """What the compiler asks a driver, answered for a GPU of the given compute capability."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return 1000 + self.capability  # kernels are kept per device: never those of a real one

    def get_current_stream(self, device):
        return 0


@pytest.fixture
def compiled(monkeypatch):
    """Compiles instead of launching; the compiled kernels by name."""
    from triton.runtime import driver, jit

    kernels = {}
    run = jit.JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernels[self.fn.__name__] = run(self, *args, grid=grid, warmup=True, **options)

    monkeypatch.setattr(jit.JITFunction, "run", compile_only)

    def compile_for(capability, *args):
        monkeypatch.setattr(driver, "_active", AbsentGpu(capability))
        call_all_kernels(*args)
        return kernels

    return compile_for


def call_all_kernels(config, dtype, shape, masked, causal, lse_gradient):
    operands = [x.requires_grad_() for x in torch.empty(3, *shape, dtype=dtype).unbind(0)]
    mask = torch.ones(shape[:2], dtype=torch.bool) if masked else None
    outputs = attend_dilated_triton(*operands, DilatedCall(config, mask, causal))
    outputs = outputs[: 2 if lse_gradient else 1]
    torch.autograd.grad(outputs, operands, [torch.empty_like(x) for x in outputs])


@pytest.mark.parametrize(
    ("capability", "config", "dtype", "shape", "masked", "causal", "lse_gradient"),
    [
        (90, CONFIG, torch.bfloat16, (1, 4096, 16, 48), False, False, False),
        (89, CONFIG, torch.bfloat16, (1, 4096, 16, 48), False, False, False),
        (90, TRUE, torch.float16, (2, 1001, 5, 64), True, True, True),
        (90, TRUE, torch.bfloat16, (1, 1, 2, 128), True, False, False),
        (90, CONFIG, torch.float32, (1, 1001, 16, 48), False, False, False),
        (89, TRUE, torch.float16, (2, 1001, 5, 64), True, True, True),
        (89, TRUE, torch.bfloat16, (1, 1001, 2, 128), True, False, False),
        (89, CONFIG, torch.float32, (1, 1001, 16, 64), False, False, False),
    ],
    ids=[
        "gigapath",
        "gigapath_89",
        "causal_padded_batch",
        "wide_head",
        "float32",
        "causal_padded_batch_89",
        "wide_head_89",
        "float32_89",
    ],
)
def test_every_kernel_compiles_and_fits_the_shared_memory(
    compiled, capability, config, dtype, shape, masked, causal, lse_gradient
):
    kernels = compiled(capability, config, dtype, shape, masked, causal, lse_gradient)
    assert sorted(kernels) == [
        "attend_branches",
        "key_gradients",
        "merge_branches",
        "query_gradients",
        "sum_branches",
    ]
    for kernel in kernels.values():
        assert kernel.metadata.shared <= SHARED_MEMORY[capability]
    if capability == 90 and dtype != torch.float32:
        for name in ("attend_branches", "query_gradients", "key_gradients"):
            assert "wgmma" in kernels[name].asm["ptx"]
