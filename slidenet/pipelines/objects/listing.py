"""What an output in a bucket held when a process began with it: lists, not many questions."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from slidenet.stores.objects.mirror import Mirror

ASKED_ONE_BY_ONE = 20
"""Of so many slides that look done the store is asked file by file, before folders are listed:
one slide of a cohort of 100,000 is not worth a list of all."""


class Listing:
    """Versions of the objects of folders, asked for once: a request for 1,000 objects.

    Args:
        mirror: The bucket, and the folder that stands for it.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._lock = mirror, threading.Lock()
        self._folders: dict[Path, Mapping[str, str]] = {}
        self._num_asked = 0
        self._in_work: set[Path] = set()

    def was_in_work(self, path: Path) -> None:
        """Notes that another process was about to make a file: the lists are too old for it."""
        self._in_work.add(path)

    def versions(self, folder: Path) -> Mapping[str, str]:
        """Versions by name of what lay in a folder when this was first asked.

        Raises:
            SlidenetError: The store cannot be read.
        """
        with self._lock:
            known = self._folders.get(folder)
            if known is None:
                is_in_bucket = folder.is_relative_to(self._mirror.root)
                listed = self._mirror.objects(folder) if is_in_bucket else ()
                known = {one.uri.rpartition("/")[2]: one.version for one in listed}
                self._folders[folder] = known
            return known

    def says_same(self, files: Sequence[Path]) -> bool:
        """Whether all of these files are here in the very versions that were listed.

        Nothing is asked about files that are not here, or have changed since they were copied, nor
        where few slides have been asked about so far; the answer is then no, too.

        Args:
            files: Of one slide; a name that ends in "*" is not known to a list.

        Raises:
            SlidenetError: The store cannot be read.
        """
        here = [self._mirror.version_of(path) for path in files]
        if not here or not all(here):  # "" is no version to compare
            return False
        if not self._in_work.isdisjoint(files):
            return False
        if self._num_asked < ASKED_ONE_BY_ONE and not all(f.parent in self._folders for f in files):
            self._num_asked += 1
            return False
        pairs = zip(files, here, strict=True)
        return all(self.versions(path.parent).get(path.name) == version for path, version in pairs)
