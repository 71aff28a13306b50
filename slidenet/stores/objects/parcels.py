"""Which objects make one slide: most are one, and some a file with others beside it.

Of a MIRAX slide all of its folder is needed, of a Hamamatsu index the images it names, of a DICOM
slide every file of its folder. They are found by listing the store, so that a web server, which has
no lists, can only hand out slides of one file and those whose index names the others.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slidenet.core.errors import ObjectStoreError
from slidenet.stores.objects.facts import ObjectFacts
from slidenet.stores.objects.store import ObjectStore
from slidenet.stores.objects.uri import (
    bucket_and_key,
    join_uri,
    name_of_uri,
    parent_of_uri,
    provider_of,
    shown_uri,
)

BLOCK_BYTES = 4096
MAX_INDEX_BYTES = 1 << 20
MAX_OBJECTS = 10_000
_MAX_NAME_BYTES = 255
_INDEX = (".vms", ".vmu")
_TILE_IMAGES = (".dzi", "_files/")


@dataclass(frozen=True, slots=True)
class Parcel:
    """The objects that are staged together.

    Attributes:
        uri: What was asked for.
        main: Name of the file that is opened.
        objects: Names from their folder on, with facts; the file that is opened is the first.
        origin: The server that said so (`ObjectStore.origin`).
    """

    uri: str
    main: str
    objects: tuple[tuple[str, ObjectFacts], ...]
    origin: str

    @property
    def version(self) -> str:
        """Of all objects together; "" where the store does not say one of them."""
        versions = [facts.version for _, facts in self.objects]
        if not all(versions):
            return ""
        # Without the server, which is no part of what is recorded of a slide.
        return versions[0] if len(versions) == 1 else f"{len(versions)} objects, {self._digest('')}"

    @property
    def digest(self) -> str:
        """Names these objects in these versions on their server, in 32 hex digits."""
        return self._digest(self.origin)

    def _digest(self, origin: str) -> str:
        asked_at = [origin] if origin else []  # else as ever, so that copies of before are found
        lines = [*asked_at, *(f"{name}\t{facts.digest}" for name, facts in self.objects)]
        text = "\n".join(lines).encode(errors="surrogateescape")
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    @property
    def num_bytes(self) -> int:
        """What they take on a disk, folders included."""
        blocks = sum(-(-facts.size // BLOCK_BYTES) for _, facts in self.objects)
        folders = {PurePosixPath(name).parent for name, _ in self.objects}
        return (blocks + 2 * len(folders)) * BLOCK_BYTES


def parcel_of(store: ObjectStore, uri: str) -> Parcel:
    """What has to be staged for an address; asks the store, and reads at most an index.

    Args:
        store: That holds it.
        uri: Of an object, or, ending in a slash, of the folder of a DICOM slide.

    Raises:
        ObjectStoreError: There is none, or its other files cannot be found there.
        ObjectAwayError: The store does not answer.
    """
    name = name_of_uri(uri)
    suffix = PurePosixPath(name).suffix.lower()
    if shown_uri(uri).lower().endswith(_TILE_IMAGES):
        raise _no_tile_images(uri)
    if shown_uri(uri).endswith("/"):
        return _dicom(store, uri, None)
    facts = store.facts(uri)
    if suffix == ".dcm":
        return _dicom(store, uri, facts)
    others: Sequence[tuple[str, ObjectFacts]] = ()
    if suffix == ".mrxs":
        folder = join_uri(parent_of_uri(uri), PurePosixPath(name).stem) + "/"
        others = _listed(store, uri, folder, PurePosixPath(name).stem + "/", "MIRAX")
        if not others:
            raise ObjectStoreError(
                f"{shown_uri(uri)} is a MIRAX slide, and nothing lies in {shown_uri(folder)}",
                expected="its folder beside it",
                remedy="copy the folder of the slide into the bucket, too",
            )
    elif suffix in _INDEX:
        others = _named_by_index(store, uri, facts)
    return _parcel(store, uri, _file_name(name, facts), facts, others)


def _parcel(
    store: ObjectStore,
    uri: str,
    main: str,
    facts: ObjectFacts,
    others: Sequence[tuple[str, ObjectFacts]],
) -> Parcel:
    if len(others) >= MAX_OBJECTS:
        raise ObjectStoreError(
            f"{shown_uri(uri)} would be a slide of more than {MAX_OBJECTS:,} objects",
            expected="the address of one slide",
            remedy="name a slide, or put the files of each slide into a folder of their own",
        )
    objects = ((main, facts), *sorted(others, key=lambda other: other[0]))
    return Parcel(uri, main, objects, store.origin(uri))


def _file_name(name: str, facts: ObjectFacts) -> str:
    """The name of an object as that of a file; one that no disk takes gives way to a digest."""
    plain = name not in ("", ".", "..") and not {"/", "\\", "\x00"} & set(name)
    if plain and len(name.encode(errors="surrogateescape")) <= _MAX_NAME_BYTES:
        return name
    suffix = PurePosixPath(name.replace("\\", "_").replace("\x00", "_")).suffix
    return facts.digest + (suffix if len(suffix.encode(errors="surrogateescape")) < 16 else "")


def _listed(
    store: ObjectStore, uri: str, folder: str, within: str, kind: str, *, recursive: bool = True
) -> list[tuple[str, ObjectFacts]]:
    """What lies in a folder of the store, by name within the folder of the slide."""
    if provider_of(uri) == "http":
        raise ObjectStoreError(
            f"{shown_uri(uri)} is one of several files of a {kind} slide, and a web server gives "
            "no list of the others",
            expected="a slide of one file, or a store that lists its objects (s3, gs, az)",
            remedy="download the slide with all its files, and name the copy",
        )
    start, found = "/".join(bucket_and_key(folder)), []
    for facts in store.list(folder, recursive=recursive):
        name = "/".join(bucket_and_key(facts.uri)).removeprefix(start)
        if not name or name.endswith("/"):
            continue  # a folder, as some programs write them
        parts = name.split("/")
        if any(_file_name(part, facts) != part for part in parts):
            raise ObjectStoreError(
                f"{shown_uri(facts.uri)} has a name that no file can have",
                expected="the files of a slide",
                remedy="take it out of the folder of the slide",
            )
        found.append((within + name, facts))
    return found


def _dicom(store: ObjectStore, uri: str, facts: ObjectFacts | None) -> Parcel:
    """All .dcm files of the folder; of a folder, the first by name is opened."""
    folder = parent_of_uri(uri) if facts is not None else uri
    listed = _listed(store, uri, folder, "", "DICOM", recursive=False)
    files = {name: about for name, about in listed if name.lower().endswith(".dcm")}
    if not files:
        raise _no_tile_images(uri)
    main = min(files) if facts is None else name_of_uri(uri)
    first = files.pop(main, facts)
    assert first is not None, "what was asked for is there"
    return _parcel(store, uri, main, first, list(files.items()))


def _no_tile_images(uri: str) -> ObjectStoreError:
    return ObjectStoreError(
        f"{shown_uri(uri)} is no slide of one file and no folder of DICOM files",
        expected="the address of a slide; folders of tile images and DeepZoom pictures are read "
        "from disks only",
        remedy="copy the folder to a disk and name it there",
    )


def _named_by_index(
    store: ObjectStore, uri: str, facts: ObjectFacts
) -> list[tuple[str, ObjectFacts]]:
    """What a Hamamatsu index file names: `ImageFile(1,0)=slide-1-0.jpg`."""
    if facts.size > MAX_INDEX_BYTES:
        raise ObjectStoreError(
            f"{shown_uri(uri)} has {facts.size:,} bytes", expected="the index of a Hamamatsu slide"
        )
    with tempfile.TemporaryDirectory(prefix="slidenet-") as folder:
        copy = Path(folder) / "index"
        store.read_into(uri, copy, facts)
        text = copy.read_text(encoding="utf-8", errors="replace")
    names = dict.fromkeys(line.partition("=")[2].strip() for line in text.splitlines())
    found = []
    if len(names) > MAX_OBJECTS:
        raise ObjectStoreError(
            f"{shown_uri(uri)} has {len(names):,} lines", expected="the index of a Hamamatsu slide"
        )
    for name in names:
        looks_like_a_file = PurePosixPath(name).suffix and "/" not in name and "\\" not in name
        if looks_like_a_file and name not in (".", ".."):
            beside = join_uri(parent_of_uri(uri), name)
            try:
                found.append((name, store.facts(beside)))
            except ObjectStoreError:
                continue  # a value that only looks like a name; the reader says what it misses
    return found
