"""Files of tensors, read without running code that they may hold, and digests of weights.

A digest tells two sets of weights apart, whatever file they came in.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slidenet.core.checks import ErrorClass
from slidenet.core.errors import MissingWeightsError, WeightsMismatchError
from slidenet.weights.torch_archive import ArchiveError, check_archive, check_value, is_archive

if TYPE_CHECKING:
    from torch import Tensor


def read_tensor_file(
    path: str | os.PathLike[str],
    *,
    what: str,
    error: ErrorClass = WeightsMismatchError,
    missing: ErrorClass = MissingWeightsError,
    expected: str = "a file written by torch.save or safetensors",
    remedy: str = "copy, download or make the file again; it may be cut short",
    plain: bool = False,
) -> object:
    """The content of a file of tensors, on the CPU.

    Args:
        path: Any file of `torch.save` (zip or the older format), or of safetensors whatever it is
            called.
        what: What the file should be, for messages ("weights file").
        error: Raised for a file that cannot be read.
        missing: Raised where there is no file.
        expected: For messages.
        remedy: For messages, where the content does not tell what went wrong.
        plain: Whether it must be a file that slidenet wrote: an archive of `torch.save` with
            tensors and plain values. Others may hold what older versions of torch wrote.

    Returns:
        What was saved; a dict of tensors from safetensors. The caller checks what it is.

    Raises:
        MissingWeightsError: (or `missing`) There is no such file.
        WeightsMismatchError: (or `error`) It is broken, something else, or could only be read by
            running code from it.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(f"no {what} at {path}", remedy="check the path")
    # Here, so that what reads no tensors starts without them.
    import torch
    from safetensors.torch import load_file

    head = b""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        # Eight bytes of length, then a JSON object: no file of torch looks like that.
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            return load_file(path)
        if is_archive(head):
            check_archive(path, plain=plain)
        elif plain and head:
            raise ArchiveError("it is no archive of torch.save")
        # Given in words, so that no variable of the environment can undo it.
        content: object = torch.load(path, map_location="cpu", weights_only=True)
        if plain:
            check_value(content, size=path.stat().st_size)
        return content
    # On damaged bytes torch's unpickler fails in whatever way it runs into: KeyError, struct.error,
    # UnicodeDecodeError, AssertionError and others have been seen.
    except Exception as fault:
        reason, cure = _diagnosis(head, fault)
        raise error(
            f"{path} cannot be read as a {what}: {reason}",
            expected=expected,
            remedy=cure or remedy,
        ) from fault


def _diagnosis(head: bytes, fault: Exception) -> tuple[str, str]:
    """Why a file cannot be read, and what to do where that is clear.

    Args:
        head: Its first bytes.
        fault: What torch or safetensors raised.
    """
    from safetensors import SafetensorError

    text = str(fault)
    if isinstance(fault, ArchiveError) and is_archive(head):
        return text, ""
    tensors_alone = "save module.state_dict() alone, best as .safetensors"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself", "run `git lfs pull` in its folder"
    if head.lstrip()[:1] == b"<":
        return "it is a web page", "download it again, signed in where access must be granted"
    if found := re.search(r"GLOBAL (\S+)", text):
        return f"it holds more than tensors ({found[1]}), which is not run", tensors_alone
    if "TorchScript" in text:
        return "it is a TorchScript archive, which holds code", tensors_alone
    if not head:
        return "it is empty", ""
    if isinstance(fault, OSError | RuntimeError | EOFError | SafetensorError):
        return (text.splitlines() or [type(fault).__name__])[0], ""
    return "it is no file of tensors, or a damaged one", ""


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
