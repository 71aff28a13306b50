"""A folder of this machine that stands for an output in a bucket.

The bucket is the truth and the folder a copy of what was needed of it. Verbs read and write files
there as anywhere else. Beside them, under `.published/`, stands of each file which version of which
object it is; so files are fetched that are other ones in the bucket, and published that were made
here. A process that is killed at any point leaves a folder of which that can still be told: a file
without such a note was made here, or was fetched and is compared by its content.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slidenet.core.errors import ObjectReplacedError, OutputError, StoreError
from slidenet.stores.atomic import atomic_path, output_errors, write_json
from slidenet.stores.json_file import read_json
from slidenet.stores.objects.facts import ObjectFacts
from slidenet.stores.objects.opening import check_origin
from slidenet.stores.objects.putting import Putter, SourceFile, putter_of
from slidenet.stores.objects.uri import join_uri, named_uri, shown_uri

FOLDER = "slidenet-outputs"
NOTES = ".published"
_TRIES_OF_VIEWS = 10
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of a file that is a copy of an object.

    Attributes:
        version: Of the object.
        stamp: Size, time of the last change (ns) and inode of the file.
    """

    version: str
    stamp: tuple[int, int, int]


@dataclass(frozen=True)
class Mirror:
    """An output in a bucket and the folder that stands for it; picklable.

    Attributes:
        uri: Address of the output, ending in a slash.
        root: The folder.
        conditions: Whether the store writes objects only over what is expected there.
        origin: The server that holds it (`ObjectStore.origin`).
    """

    uri: str
    root: Path
    conditions: bool
    origin: str

    @property
    def putter(self) -> Putter:
        """Who reads and writes its objects, one in each process.

        Raises:
            ConfigError: This process would ask another server, on another machine perhaps.
        """
        found: Putter = _putter(self.uri, self.origin, os.getpid(), self.conditions)
        return found

    @property
    def shown(self) -> str:
        """The address as it is printed."""
        return shown_uri(self.uri).rstrip("/")

    def uri_of(self, path: Path) -> str:
        """The object that a file of the folder stands for."""
        return join_uri(self.uri, path.relative_to(self.root).as_posix())

    def path_of(self, uri: str) -> Path:
        """The file that stands for an object."""
        assert uri.startswith(self.uri), "an object of this output"
        return self.root.joinpath(*uri.removeprefix(self.uri).split("/"))

    def objects(self, folder: Path, beginning: str = "") -> list[ObjectFacts]:
        """The objects of a folder, without those of folders in it and without hidden ones.

        Args:
            folder: The folder that stands for theirs.
            beginning: How their names begin.
        """
        prefix = self.uri if folder == self.root else f"{self.uri_of(folder)}/"
        found = self.putter.store.list(prefix + beginning, recursive=False)
        names = ((one, one.uri.removeprefix(prefix)) for one in found)
        return [one for one, name in names if "/" not in name and _is_plain(name)]

    def folders(self, folder: Path) -> list[Path]:
        """The folders that a folder of the bucket has, hidden ones left out."""
        prefix = self.uri if folder == self.root else f"{self.uri_of(folder)}/"
        found = self.putter.store.list(prefix, recursive=False)
        names = (one.uri.removeprefix(prefix) for one in found)
        return [folder / n[:-1] for n in names if n.endswith("/") and _is_plain(n[:-1])]

    def fetch(self, wanted: Iterable[Path]) -> None:
        """Makes files what they are in the bucket; what was made here and is not there yet stays.

        Args:
            wanted: Files, or a name that ends in "*": all that begin so.

        Raises:
            SlidenetError: The store cannot be read, or the disk not be written.
        """
        for path in wanted:
            if not path.name.endswith("*"):
                self.fetch_file(path, self.putter.facts(self.uri_of(path)))
                continue
            beginning = path.name[:-1]
            there = {self.path_of(f.uri): f for f in self.objects(path.parent, beginning)}
            every = sorted(there.keys() | set(files_at(path)))
            if len(every) < _AT_ONCE:  # each is an exchange with the store, which takes its time
                for one in every:
                    self.fetch_file(one, there.get(one))
                continue
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetching") as threads:
                list(threads.map(lambda one, of=there: self.fetch_file(one, of.get(one)), every))

    def fetch_file(self, path: Path, facts: ObjectFacts | None) -> None:
        """Makes a file what it is in the bucket.

        Args:
            path: The file.
            facts: Of its object; None where there is none.
        """
        note, stamp = self._note(path), _stamp(path)
        if facts is None:
            if note is None or stamp != note.stamp:
                self._forget(path)
                return
            # Published, and not in a list that may be older than that: asked once more.
            facts = self.putter.facts(self.uri_of(path))
            if facts is None:  # it was removed from the bucket
                with output_errors(path):
                    path.unlink(missing_ok=True)
                self._forget(path)
                return
        if stamp is not None:
            if note is not None and note.version == facts.version:
                return  # the same, or made anew here and not published yet
            if stamp[0] == facts.size and self.putter.holds(facts.uri, SourceFile(path)):
                self._write_note(path, facts, stamp)
                return
        with atomic_path(path) as temporary:
            self.putter.store.read_into(facts.uri, temporary, facts)
            stamp = _stamp(temporary)
        self._write_note(path, facts, stamp)

    def publish(self, wanted: Iterable[Path]) -> int:
        """Writes files into the bucket that were made here; returns how many.

        Args:
            wanted: Files, or a name that ends in "*": all that begin so.

        Raises:
            ObjectReplacedError: Another writer was there with another content; both are named.
            SlidenetError: The bucket cannot be written, or does not answer.
        """
        files = [p for one in wanted for p in (files_at(one) if one.name.endswith("*") else [one])]
        return sum(self._publish_file(path) for path in files)

    def publish_view(self, path: Path) -> None:
        """Writes a file into the bucket that anybody makes anew of what is there: the last wins.

        Raises:
            SlidenetError: The bucket cannot be written, or does not answer.
        """
        note, stamp = self._note(path), _stamp(path)
        if stamp is None or (note is not None and note.stamp == stamp):
            return
        for last in (*[False] * _TRIES_OF_VIEWS, True):
            facts, stamp = self.putter.facts(self.uri_of(path)), _stamp(path)
            try:
                expected = None if facts is None else facts.version
                new = self.putter.put_proved(self.uri_of(path), SourceFile(path), expected)
            except ObjectReplacedError:
                if last:
                    raise
                continue
            self._write_note(path, new, stamp)
            return

    def version_of(self, path: Path) -> str | None:
        """The version of the object that a file is a copy of, unchanged; None where it is none."""
        note = self._note(path)
        return note.version if note is not None and note.stamp == _stamp(path) else None

    def is_published(self, path: Path) -> bool:
        """Whether a file is known to be in the bucket as it is here."""
        return self.version_of(path) is not None

    def _publish_file(self, path: Path) -> bool:
        note, stamp = self._note(path), _stamp(path)
        if stamp is None or (note is not None and note.stamp == stamp):
            return False
        expected = None if note is None else note.version
        facts = self.putter.put_proved(self.uri_of(path), SourceFile(path), expected)
        self._write_note(path, facts, stamp)
        return True

    def _note_path(self, path: Path) -> Path:
        relative = path.relative_to(self.root)
        return self.root / NOTES / relative.parent / f"{relative.name}.json"

    def _note(self, path: Path) -> _Note | None:
        file = self._note_path(path)
        if not file.is_file():
            return None
        with suppress(StoreError, ValueError, TypeError):  # a note that is damaged says nothing
            said = read_json(file, remedy="delete it", needs=("version", "stamp"))
            size, changed, inode = map(int, said["stamp"])
            return _Note(str(said["version"]), (size, changed, inode))
        return None

    def _write_note(
        self, path: Path, facts: ObjectFacts, stamp: tuple[int, int, int] | None
    ) -> None:
        """Notes of what file an object is a copy.

        Args:
            path: The file.
            facts: Of the object.
            stamp: Of the file as it was sent or fetched: by now another process of this machine
                may have made it anew, which nobody would publish if it were noted as done.
        """
        if stamp is not None:
            write_json(self._note_path(path), {"version": facts.version, "stamp": list(stamp)})

    def _forget(self, path: Path) -> None:
        with output_errors(path):
            self._note_path(path).unlink(missing_ok=True)


def open_mirror(uri: str, cache: Path) -> Mirror:
    """The folder of this machine for an output in a bucket, which only its user may open.

    That the bucket may be written, and whether it keeps conditions, is tried first.

    Args:
        uri: Address of the output.
        cache: Folder of such folders.

    Raises:
        ConfigError: Nobody can write there.
        ObjectStoreError: There is no such bucket, or no right to write.
        ObjectAwayError: The store does not answer.
        OutputError: The folder cannot be made, or is somebody else's.
    """
    scheme, _, place = join_uri(uri, "").partition("://")  # each object is called by one name
    uri = f"{scheme.lower()}://{place.rstrip('/')}/"
    putter = putter_of(uri)
    conditions, origin = putter.keeps_conditions(uri), putter.store.origin(uri)
    # Another server may have a bucket of the same name: its files are not to be mixed with these.
    named = f"{named_uri(uri)}\n{origin}" if origin else named_uri(uri)
    name = hashlib.blake2b(named.encode(), digest_size=16).hexdigest()
    root = cache.absolute() / FOLDER / name
    with output_errors(root):
        cache.mkdir(parents=True, exist_ok=True)
        for folder in (root.parent, root):
            folder.mkdir(mode=0o700, exist_ok=True)
            about = folder.lstat()
            is_ours = not hasattr(os, "geteuid") or about.st_uid == os.geteuid()
            if not (is_ours and stat.S_ISDIR(about.st_mode)):
                raise OutputError(
                    f"{folder} is no folder of yours",
                    expected="a folder of your own for copies of what is in the bucket",
                    remedy="give another --cache",
                )
            folder.chmod(0o700)
    mirror = Mirror(uri, root, conditions, origin)
    _opened[str(root)] = mirror.shown
    return mirror


_opened: dict[str, str] = {}


def as_published(text: str) -> str:
    """A text in which files of the folders opened here are named as the objects they stand for."""
    for root, shown in _opened.items():
        text = text.replace(root, shown)
    return text


def files_at(beginning: Path) -> Iterator[Path]:
    """The files whose names begin as one that ends in "*" does, by name; no hidden ones."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(beginning.parent) as entries:
        names = [one.name for one in entries if one.is_file(follow_symlinks=False)]
        first = beginning.name[:-1]
        yield from (
            beginning.parent / n for n in sorted(names) if n.startswith(first) and _is_plain(n)
        )


def _is_plain(name: str) -> bool:
    return bool(name) and not name.startswith(".")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


@lru_cache(maxsize=16)
def _putter(uri: str, origin: str, pid: int, conditions: bool) -> Any:
    putter = putter_of(uri, conditions=conditions)
    check_origin(putter.store, uri, origin)
    return putter
