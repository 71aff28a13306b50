"""The kernels attention runs on, in order of preference."""

from slidenet.attention.kernels.cpu import CpuFlashKernel, MathKernel
from slidenet.attention.kernels.cuda import CudaEfficientKernel, CudaFlashKernel
from slidenet.attention.kernels.interface import Kernel
from slidenet.core.registry import Registry

PREFERENCE: tuple[Kernel, ...] = (
    CpuFlashKernel(),
    CudaFlashKernel(),
    CudaEfficientKernel(),
    MathKernel(),
)
"""Fastest first; the last one takes everything."""

KERNELS: Registry[Kernel] = Registry("attention backend")
for _kernel in PREFERENCE:
    KERNELS.add(_kernel.name, _kernel)
