"""Which device a model runs on."""

import torch

from slidenet.core.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` takes a CUDA GPU, then an Apple GPU, then the CPU.

    Raises:
        ConfigError: The device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # torch reports an absent device as RuntimeError or AssertionError, depending on its build.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {name!r} cannot be used here ({reason})",
            expected="auto, cpu, cuda, cuda:N or mps",
            remedy="`slidenet doctor` lists what this machine has",
        ) from error
    return device
