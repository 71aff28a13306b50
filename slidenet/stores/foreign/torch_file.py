"""A tensor saved by torch, read without running anything that the file may hold."""

import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import StoreError


def read_tensor(path: Path) -> npt.NDArray[np.floating]:
    """The one tensor of a `.pt` file as an array; bfloat16 becomes float32.

    Raises:
        StoreError: It is broken, holds anything but one tensor of floats, or would need code from
            the file to be run.
    """
    import torch  # here, so that reading h5 files starts without it

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            f"{path} cannot be read as a tensor ({reason})",
            expected="one tensor saved by torch.save",
            remedy="make the file again",
        ) from error
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
        raise StoreError(f"{path} holds {kind}", expected="one tensor of floats")
    if value.dtype not in (torch.float16, torch.float32):
        value = value.float()
    array: npt.NDArray[np.floating] = value.numpy()
    return array
