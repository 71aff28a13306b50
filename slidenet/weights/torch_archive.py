"""What a file of `torch.save` may ask for, looked at before torch reads it.

torch unpickles without running code, but not without limits: a record may be packed to a thousandth
of its size, two may lie in each other, and a pickle may ask for memory of any size. Here the work
and the memory that a file can cause are bound by its own size.
"""

import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from slidenet.core.json_text import MAX_DEPTH

MAX_INDEX_BYTES = 32 << 20
"""Of the list of records; a network of 10,000 tensors needs about one million."""

MAX_PICKLE_BYTES = 256 << 20
"""Of names, settings and numbers beside the tensors."""

_PLAIN = {
    "collections OrderedDict",
    "collections Counter",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    "builtins set",
    "builtins complex",
    "_codecs encode",
}
"""What files of slidenet hold beside plain values. None makes memory of a size that it names."""

LEAST_VALUES = 100_000
"""So many numbers, texts and lists a file may hold, whatever its size."""

TIMES_SHARED = 4
"""Of its size the tensors of a file may take: weights may be tied."""

_FOLDED = "its values are larger than the file: they lie in each other many times over"
_MARK = 0
"""In place of a mark on the stack of a pickle."""

_DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64")

_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


class ArchiveError(Exception):
    """A file asks for more than it holds; the text is a clause that says how."""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is what `torch.save` writes now, not one of its older formats.

    Args:
        head: The first bytes.
    """
    return head.startswith(b"PK\x03\x04")


def check_archive(path: Path, *, plain: bool) -> None:
    """Refuses what would cost more memory or work than the size of the file explains.

    Args:
        path: An archive of `torch.save`.
        plain: Whether it must hold what slidenet writes and nothing else (tensors, and numbers,
            texts and lists), every byte as it was written.

    Raises:
        ArchiveError: It asks for more than it holds.
        zipfile.BadZipFile: It is cut short.
    """
    size = path.stat().st_size
    if _index_bytes(path) > MAX_INDEX_BYTES:
        raise ArchiveError("its list of records is too long to be that of a model")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.filename.endswith("/constants.pkl") for record in records):
            return  # a TorchScript archive, which torch refuses by name
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ArchiveError("its records are packed, which torch never does")
        if sum(record.file_size for record in records) > size:
            raise ArchiveError(f"its records claim more bytes than the {size:,} of the file")
        names = [record.filename for record in records]
        if len(set(names)) < len(names):
            raise ArchiveError("two of its records have the same name")
        if not plain:
            return
        for record in records:
            if record.filename.endswith("/data.pkl"):
                if record.file_size > MAX_PICKLE_BYTES:
                    raise ArchiveError(
                        f"{record.file_size:,} bytes beside its tensors are no model's"
                    )
                _check_plain(archive.read(record))
        if archive.testzip() is not None:  # torch reads a changed number like any other
            raise ArchiveError("some of its bytes were changed since it was written")


def _check_plain(pickle: bytes) -> None:
    """Refuses what slidenet does not write, and tuples that are longer than the file.

    A tuple may be the key of a dict, and is hashed while the pickle is read: of sixty tuples, each
    twice in the next, the last takes longer than anybody waits. The stack of the pickle is followed
    here with the number of items in the place of each tuple.
    """
    most, stack, memo = max(len(pickle), LEAST_VALUES), list[int](), dict[int, int]()
    for operation, argument, _ in pickletools.genops(pickle):
        name = operation.name
        if name in ("GLOBAL", "INST") and not _is_plain(str(argument)):
            raise ArchiveError(
                f"it holds more than tensors ({str(argument).replace(' ', '.')}), which is not run"
            )
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1] if stack else 1
            continue
        if name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(int(argument or 0), 1))
            continue
        before = operation.stack_before
        count = len(before)
        if pickletools.markobject in before:  # all above the last mark, and what is named before it
            above = stack[::-1].index(_MARK) + 1 if _MARK in stack else len(stack)
            count = above + before.index(pickletools.markobject)
        start = max(len(stack) - count, 0)
        length = 1 + sum(stack[start:]) if "TUPLE" in name else 1
        if length > most:
            raise ArchiveError(_FOLDED)
        del stack[start:]
        made = operation.stack_after
        stack += [_MARK if one is pickletools.markobject else length for one in made]


def check_value(value: object, *, size: int) -> None:
    """Refuses a value that is larger than its file, or too deep to be looked at.

    A list that lies twice in a list, which lies twice in another one, and so on, takes few bytes
    of a file and no memory, but whoever writes it out is never done. A tensor may say that one
    number is a billion of them.

    Args:
        value: What was read, of tensors and plain values.
        size: Bytes of the file.

    Raises:
        ArchiveError: It is.
    """
    from torch import Tensor  # what reads no tensors starts without them

    left, level = max(size, LEAST_VALUES), [value]
    bytes_left = TIMES_SHARED * size
    for _ in range(MAX_DEPTH):
        inside = list[object]()
        for outer in level:
            if isinstance(outer, Tensor):
                wanted = outer.numel() * outer.element_size()
                if wanted > outer.untyped_storage().nbytes():
                    raise ArchiveError(
                        f"a tensor of the shape {tuple(outer.shape)} is not there as a whole"
                    )
                bytes_left -= wanted
            elif isinstance(outer, Mapping):
                inside += [*outer, *outer.values()]
            elif isinstance(outer, list | tuple | set | frozenset):
                inside += outer
            if len(inside) > left or bytes_left < 0:
                raise ArchiveError(_FOLDED)
        left -= len(inside)
        level = inside
        if not level:
            return
    raise ArchiveError(f"its values are nested deeper than {MAX_DEPTH} levels")


def _is_plain(name: str) -> bool:
    if name in _PLAIN or name.removeprefix("torch ") in (*_DTYPES, "bool"):
        return True
    # FloatStorage and so on, which torch replaces by a mark; UntypedStorage it would make.
    return name.startswith("torch ") and name.endswith("Storage") and "Untyped" not in name


def _index_bytes(path: Path) -> int:
    """How long the list of records says it is; 0 where there is no end of an archive."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        tail = file.read()
        end = tail.rfind(_END)
        if end < 0 or len(tail) < end + 22:
            return 0
        length = int(struct.unpack("<I", tail[end + 12 : end + 16])[0])
        place = end - 20
        if place >= 0 and tail[place : place + 4] == _LOCATOR_64:
            file.seek(int(struct.unpack("<Q", tail[place + 8 : place + 16])[0]))
            record = file.read(56)
            if record[:4] == _END_64:
                length = max(length, int(struct.unpack("<Q", record[40:48])[0]))
    return length
