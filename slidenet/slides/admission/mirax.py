"""MIRAX slides: an index file NAME.mrxs and, in the folder NAME beside it, all pixels.

The folder holds Slidedat.ini (what there is), an index (where each image lies) and data files
(the images). openslide opens a slide some of whose data files are missing or cut, and fails tile
by tile.
"""

import struct
from pathlib import Path

import numpy as np

from slidenet.core.errors import UnreadableSlideError

_MAX_INI_BYTES = 1 << 20
_MAX_INDEX_BYTES = 1 << 28
_INDEX_VERSION_BYTES = 5
_HEAD_BYTES = 64
Groups = dict[str, dict[str, str]]


def why_mirax_is_unknown(path: Path) -> str | None:
    """Why openslide does not know a .mrxs file, as a clause; None where the folder looks right."""
    folder = path.with_suffix("")
    if not folder.is_dir():
        return f"the folder {folder.name!r} with its pixels is not beside it"
    if not (folder / "Slidedat.ini").is_file():
        return f"the folder {folder.name!r} beside it holds no Slidedat.ini"
    if path.suffix != ".mrxs":
        return f"its ending is {path.suffix!r}, which openslide wants in small letters"
    return None


def check_mirax(path: Path) -> None:
    """Refuses a MIRAX slide whose data files are not all there, or shorter than the index says.

    Raises:
        UnreadableSlideError: Naming the files.
    """
    folder = path.with_suffix("")
    groups = _read_ini(folder / "Slidedat.ini", path.name)
    files = groups.get("DATAFILE", {})
    names = [files.get(f"FILE_{i}", "") for i in range(_whole(files.get("FILE_COUNT")))]
    index = groups.get("HIERARCHICAL", {}).get("INDEXFILE", "")
    missing = [name for name in [index, *names] if name and not (folder / name).is_file()]
    if missing:
        raise UnreadableSlideError(
            f"{len(missing)} of its {len(names) + 1} files are missing in the folder "
            f"{folder.name!r}: {_listed(missing)}",
            expected="every file that its Slidedat.ini names",
            remedy="copy the whole folder again",
            slide=path.name,
        )
    if not index or not names:
        return  # openslide says what of the file is wrong
    last = _last_images(folder / index, groups, len(names))
    cut = [
        f"{name} {fault}"
        for name, (start, end) in zip(names, last, strict=True)
        if name and (fault := _fault_of_data(folder / name, start, end)) is not None
    ]
    if cut:
        raise UnreadableSlideError(
            f"{len(cut)} of its {len(names)} data files are truncated or damaged: {_listed(cut)}",
            expected="files as long as the slide's index says",
            remedy="copy the whole folder again",
            slide=path.name,
        )


def _fault_of_data(path: Path, start: int, end: int) -> str | None:
    """What is wrong with a data file whose last image lies there, as what follows its name."""
    size = path.stat().st_size
    if size < end:
        return f"ends at byte {size}, its last image at {end}"
    with path.open("rb") as file:
        file.seek(start)
        head = file.read(max(0, min(end - start, _HEAD_BYTES)))
    return "holds zeros where its last image should begin" if head and not any(head) else None


def _read_ini(path: Path, slide: str) -> Groups:
    """Groups of keys and values; of a repeated key the last counts."""
    with path.open("rb") as file:
        content = file.read(_MAX_INI_BYTES + 1)
    if len(content) > _MAX_INI_BYTES:
        raise UnreadableSlideError(
            f"its Slidedat.ini is larger than {_MAX_INI_BYTES:,} bytes",
            expected="the index of a MIRAX slide",
            remedy="copy the whole folder again",
            slide=slide,
        )
    groups: Groups = {}
    group: dict[str, str] = {}
    for line in content.decode("utf-8-sig", "replace").splitlines():
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            group = groups.setdefault(text[1:-1], {})
        elif "=" in text and not text.startswith(("#", ";")):
            key, value = text.split("=", 1)
            group[key.strip()] = value.strip()
    return groups


def _last_images(path: Path, groups: Groups, num_files: int) -> list[tuple[int, int]]:
    """First byte of the last image of each data file and the one after it, by the index.

    Zeros where nothing is known.

    The index is a tree of pointers: root -> one record per zoom level -> linked pages of
    (image, offset, length, data file). Pages visited are remembered, so that a circle ends.
    """
    starts, ends = np.zeros((2, num_files), np.int64)
    general, levels = groups.get("GENERAL", {}), groups.get("HIERARCHICAL", {})
    if levels.get("HIER_0_NAME") != "Slide zoom level" or path.stat().st_size > _MAX_INDEX_BYTES:
        return [(0, 0)] * num_files
    content = path.read_bytes()

    def number(offset: int) -> int:
        whole = 0 <= offset <= len(content) - 4
        return struct.unpack_from("<i", content, offset)[0] if whole else 0

    root = number(_INDEX_VERSION_BYTES + len(general.get("SLIDE_ID", "").encode()))
    seen = {0}
    for level in range(min(_whole(levels.get("HIER_0_COUNT")), 64)):
        page = number(number(root + 4 * level) + 4)
        while page not in seen and 0 < page <= len(content) - 8:
            seen.add(page)
            count = min(max(number(page), 0), (len(content) - page - 8) // 16)
            rows = np.frombuffer(content, "<i4", 4 * count, page + 8).reshape(-1, 4)
            known = (rows[:, 3] >= 0) & (rows[:, 3] < num_files)
            _, offset, length, file = rows[known].T.astype(np.int64)
            np.maximum.at(starts, file, offset)
            np.maximum.at(ends, file, offset + length)
            page = number(page + 4)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 7 else 0


def _listed(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
