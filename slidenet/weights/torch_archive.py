"""What a file of `torch.save` may ask for, looked at before torch reads it.

torch unpickles without running code, but not without limits: a record may be packed to a thousandth
of its size, two may lie in each other, and a pickle may ask for memory of any size. Here the work
and the memory that a file can cause are bound by its own size.
"""

import pickletools
import struct
import zipfile
from pathlib import Path

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
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name in ("GLOBAL", "INST") and not _is_plain(str(argument)):
            raise ArchiveError(
                f"it holds more than tensors ({str(argument).replace(' ', '.')}), which is not run"
            )


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
