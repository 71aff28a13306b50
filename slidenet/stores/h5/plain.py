"""What may be read of an h5 file somebody hands over: plain datasets that lie in the file, whole.

HDF5 follows what a file says: to other files on this disk, to data that were never written, to
arrays a million times the size of the file. None of it belongs into a file of features, so all of
it is refused from the headers, before anything is read or reserved.
"""

import math
import mmap
import os
from pathlib import Path
from typing import Any

import h5py

from slidenet.core.errors import StoreError

MOST_EXPANSION = 100
"""Compressed features and coords of real slides need a tenth of their size, not a hundredth."""

SMALL_BYTES = 64 * 2**20
"""So much may be unpacked from anything: status codes of one kind shrink to nothing."""

_HEAP_MARK = b"GCOL\x01\x00\x00\x00"
_HEAP_HEADER = 16
_SEARCHED_BYTES = 4 * 2**20


def holds(h5: Any, name: str) -> bool:
    """Whether a file has something under this path, without following where it leads."""
    *groups, last = name.split("/")
    for part in groups:
        if not h5.id.links.exists(part.encode()) or reference_problem(h5, part):
            return False
        h5 = h5.get(part)
        if not isinstance(h5, h5py.Group):
            return False
    return bool(h5.id.links.exists(last.encode()))


def reference_problem(h5: Any, name: str) -> str:
    """In how far a path leads out of the file or round about in it; empty where it does not."""
    group, so_far, parts = h5, "", name.split("/")
    for number, part in enumerate(parts, 1):
        so_far = f"{so_far}/{part}"
        if not isinstance(group, h5py.Group) or not group.id.links.exists(part.encode()):
            return ""
        kind = group.id.links.get_info(part.encode()).type
        if kind != h5py.h5l.TYPE_HARD:
            known = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
            link = known.get(kind, "a link of an unknown kind")
            return f"{so_far} is {link}; expected the data themselves"
        group = group.get(part) if number < len(parts) else None
    return ""


def dataset_problem(h5: Any, name: str) -> str:
    """Why a dataset may not be read; empty where it may. Only headers are read."""
    problem = reference_problem(h5, name)
    if problem:
        return problem
    dataset = h5.get(name)  # nothing on the way is a link
    if not isinstance(dataset, h5py.Dataset):
        return f"dataset /{name} is missing"
    settings = dataset.id.get_create_plist()
    if dataset.is_virtual:
        return f"/{name} is a virtual dataset, whose data lie in other files"
    if settings.get_external_count():
        return (
            f"/{name} is stored outside the file, in {os.fsdecode(settings.get_external(0)[0])!r}"
        )
    try:
        itemsize = dataset.dtype.itemsize
    except (TypeError, ValueError) as error:
        return f"/{name} holds numbers of a kind unknown to numpy ({error})"
    if dataset.shape is None:
        return f"/{name} has no shape"
    for i in range(settings.get_nfilters()):
        code, *_, words = settings.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            return (
                f"/{name} is compressed by the HDF5 filter {code} "
                f"({words.decode(errors='replace')}), which is not installed here"
            )
    return _storage_problem(h5, name, dataset, itemsize)


def _storage_problem(h5: Any, name: str, dataset: Any, itemsize: int) -> str:
    """What of a dataset is not there, or would be too much once it is unpacked."""
    size = math.prod(dataset.shape) * itemsize
    if not size:
        return ""
    stored, in_file = dataset.id.get_storage_size(), h5.id.get_filesize()
    if stored > in_file:
        return f"/{name} claims {stored} bytes of a file of {in_file}"
    shape = f"/{name} has shape {dataset.shape}"
    if dataset.chunks:
        wanted = math.prod(
            -(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)
        )
        there = dataset.id.get_num_chunks()
        if there < wanted:
            return f"{shape}, but was never written whole: {there} of {wanted} chunks are there"
        size = max(size, wanted * math.prod(dataset.chunks) * itemsize)
    elif stored < size:
        return f"{shape}, but was never written whole: {stored} of {size} bytes are there"
    if size > SMALL_BYTES and size > MOST_EXPANSION * stored:
        return f"{shape}, {size / 2**20:.0f} MiB that would be unpacked from {stored} bytes"
    return ""


def refuse_unless_plain(h5: Any, path: Path, *names: str) -> None:
    """Refuses datasets that may not be read.

    Raises:
        StoreError: Naming the file, the dataset and what is wrong with it.
    """
    for name in names:
        problem = dataset_problem(h5, name)
        if problem:
            raise StoreError(
                f"{path}: {problem}",
                remedy="ask for the file itself with all its data in it, or make it again",
            )


def heap_problem(path: Path, *, whole: bool) -> str:
    """What is wrong with the heaps on which a file keeps text of variable length.

    HDF5 (2.0) walks them for ever where a copy that was cut short has left zeros, so they are
    walked here before such text is read.

    Args:
        path: The file.
        whole: Whether all of it is searched for heaps, or only its first and last 4 MiB, where
            files of features have them.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            ends = [(0, len(data))]
            if not whole and len(data) > 2 * _SEARCHED_BYTES:
                ends = [(0, _SEARCHED_BYTES), (len(data) - _SEARCHED_BYTES, len(data))]
            for start, stop in ends:
                at = data.find(_HEAP_MARK, start, stop)
                while at >= 0:
                    if _walks_for_ever(data, at):
                        return f"the text on its heap at byte {at} is spoilt"
                    at = data.find(_HEAP_MARK, at + 1, stop)
    return ""


def _walks_for_ever(data: mmap.mmap, start: int) -> bool:
    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    stop = min(len(data), start + number(start + 8, 8))
    at = start + _HEAP_HEADER
    while at + _HEAP_HEADER <= stop:
        index, size = number(at, 2), number(at + 8, 8)
        step = _HEAP_HEADER + -(-size // 8) * 8 if index else size
        if not step:
            return True
        at += step
    return False
