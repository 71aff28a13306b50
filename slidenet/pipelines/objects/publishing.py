"""Work on slides whose output is in a bucket: what is there is fetched, what is made is published.

The work itself reads and writes files of a folder (`stores.objects.mirror`). A slide is done when
the bucket is proved to hold its files. So a run that is killed at any point is gone on with
anywhere, and processes that share nothing but the bucket drain one list.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from slidenet.core.errors import (
    ClaimedElsewhere,
    DiskError,
    ObjectAwayError,
    ObjectStoreError,
    SlidenetError,
)
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.objects.listing import Listing
from slidenet.pipelines.objects.wrapping import WrappedWork
from slidenet.stores.objects.claims import object_claim
from slidenet.stores.objects.mirror import Mirror
from slidenet.stores.objects.uri import join_uri


@dataclass(frozen=True)
class PublishedWork(WrappedWork):
    """The work of a verb, with its files fetched from a bucket before and published after.

    Attributes:
        work: The work of the verb.
        mirror: The bucket, and the folder the work knows.
    """

    work: SlideWork
    mirror: Mirror

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        return [f for f in self.work.files_of(row) if f.is_relative_to(self.mirror.root)]

    def was_made(self, path: Path) -> bool:
        """Whether the bucket held a file when this process first asked about its folder."""
        return path.name in self._listing.versions(path.parent) or path.exists()

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self.mirror)

    def __getstate__(self) -> dict[str, object]:
        return {"work": self.work, "mirror": self.mirror}  # each process lists for itself

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Does the work, between the claim, fetching and publishing."""
        mirror, files = self.mirror, self.files_of(row)
        with self._claim(row):
            try:
                # A slide whose files are all here as they were listed is judged by these. Where
                # others have written it between the list and the claim, it is judged as it was when
                # this run began, as if its turn had come at once. Nothing of theirs is lost: what
                # is made anew goes up over the version that was listed and no other, and what is
                # done is not written at all. All files or none: no two of different times.
                if not self._listing.says_same(files):
                    mirror.fetch(files)
                result = self.work(row, progress)
                mirror.publish(files)
            except DiskError as error:
                if str(mirror.root) in error.found:  # else it is another disk
                    error.remedy = (
                        f"the files of {mirror.shown} are made in {mirror.root.parent} first: free "
                        "some disk space there or give another --cache, then run again"
                    )
                raise
            except (ClaimedElsewhere, ObjectStoreError, ObjectAwayError):
                raise
            except SlidenetError:
                mirror.publish(files)  # a picture of a slide without tissue, say
                raise
            return result

    @contextmanager
    def _claim(self, row: SlideRow) -> Iterator[None]:
        path, mirror = self.work.claimed(row), self.mirror
        if path is None or not (mirror.conditions and path.is_relative_to(mirror.root)):
            yield
            return
        shown = f"{mirror.shown}/{path.relative_to(mirror.root).as_posix()}"
        try:
            with object_claim(mirror.putter, claim_uri(mirror, path), shown, slide=row.slide_id):
                yield
        except ClaimedElsewhere:
            self._listing.was_in_work(path)
            raise


def claim_uri(mirror: Mirror, path: Path) -> str:
    """Where the claim on a file of an output lies in the bucket."""
    return join_uri(mirror.uri, f".slidenet/claims/{path.relative_to(mirror.root).as_posix()}.json")


def files_of_bags(layout: OutputLayout, files: Sequence[Path]) -> list[Path]:
    """Features in an output folder, each with the tiles it was made of, which are compared.

    Args:
        layout: Paths of the folder.
        files: Features, there or anywhere else.
    """
    found = []
    for file in files:
        if file.is_relative_to(layout.root) and file.parent.parent.name == "tile_features":
            root = OutputLayout(file.parent.parent.parent)
            found += [root.tiles(file.name.removesuffix(".h5")), file]
    return found
