"""A tensor saved by torch, read without running anything that the file may hold."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import StoreError
from slidenet.weights.files import read_tensor_file


def read_tensor(path: Path) -> npt.NDArray[np.floating]:
    """The one tensor of a `.pt` file as an array; bfloat16 becomes float32.

    Raises:
        StoreError: It is broken, holds anything but one tensor of floats, or would need code from
            the file to be run.
    """
    import torch  # here, so that reading h5 files starts without it

    value = read_tensor_file(
        path,
        what="tensor",
        error=StoreError,
        missing=StoreError,
        expected="one tensor saved by torch.save",
        remedy="make the file again",
    )
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = str(value.dtype) if isinstance(value, torch.Tensor) else type(value).__name__
        raise StoreError(f"{path} holds {kind}", expected="one tensor of floats")
    if value.dtype not in (torch.float16, torch.float32):
        value = value.float()
    array: npt.NDArray[np.floating] = value.numpy()
    return array
