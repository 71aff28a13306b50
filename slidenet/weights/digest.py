"""Digests of weights: what tells two sets of weights apart, whatever file they came in."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def digest_of_state(state: Mapping[str, "Tensor"], *, separator: str = "\n") -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, in the order of sorted names.

    Args:
        state: A state dict, on any device.
        separator: Between the description and the bytes of a tensor. Digests are kept in files, so
            each kind of model stays with the one it began with.

    Returns:
        64 hex digits.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}{separator}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
