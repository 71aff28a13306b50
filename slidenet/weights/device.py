"""Where models run: auto, cpu, cuda, cuda:N or mps, checked before anything is loaded."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from slidenet.core.errors import EncoderError

if TYPE_CHECKING:
    import torch


def resolve_device(device: "str | torch.device") -> "torch.device":
    """The device meant, checked to exist here.

    Args:
        device: "cpu", "cuda", "cuda:N", "mps", or "auto" for the best one present.

    Raises:
        EncoderError: This machine has no such device.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise EncoderError(
            f"there is no kind of device {device!r}", expected="auto, cpu, cuda, cuda:N or mps"
        ) from error
    present = {"cpu": True, "cuda": cuda, "mps": mps}.get(found.type, False)
    if found.type == "cuda" and present and found.index is not None:
        present = found.index < torch.cuda.device_count()
    if not present:
        raise EncoderError(
            f"device {str(device)!r} is not available here",
            expected=f"one of cpu{', cuda' if cuda else ''}{', mps' if mps else ''}",
            remedy="run with device cpu, or install a torch build for this accelerator",
        )
    return found


def available_cores() -> int:
    """Cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The model of the CPU, as far as the system says it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    return name
