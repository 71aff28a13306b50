"""Verbs whose `--out` is a bucket: `run --out s3://bucket/cohort`.

A verb gets a folder of this machine instead (`stores.objects.mirror`), and `run_cohort` the work
that fetches and publishes the files of each slide. What belongs to the cohort as a whole is fetched
before the first slide (what the output was begun with) and published at the end, also of a run that
is interrupted.
"""

import functools
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from slidenet.core.errors import (
    ClaimedElsewhere,
    IdentityMismatchError,
    ObjectReplacedError,
    SlidenetError,
)
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run_files import write_view
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.pipelines.objects.publishing import PublishedWork
from slidenet.slides import SCANNER_FORMATS, SLIDE_SUFFIXES
from slidenet.stores.objects.cache import default_folder
from slidenet.stores.objects.claims import BEAT_S, STALE_S, object_claim
from slidenet.stores.objects.mirror import Mirror, files_at, open_mirror
from slidenet.stores.objects.uri import join_uri, uri_of

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_SLIDES = tuple({*SLIDE_SUFFIXES, *SCANNER_FORMATS} - {".png", ".jpg", ".jpeg"})
LEASE = ".slidenet/lease.json"
_BOTH_BEGAN_S = 2.0
_MOST_TRIES = 20


@dataclass(frozen=True)
class BucketOutput:
    """An output in a bucket, for the time of one verb.

    Attributes:
        mirror: The bucket, and its folder here.
    """

    mirror: Mirror

    def published(self, work: SlideWork) -> SlideWork:
        """The work, with the files of each slide fetched before and published after."""
        return PublishedWork(work, self.mirror)

    def fetch_begun(self) -> None:
        """Fetches what the output was begun with: engine, tables, and one set of tiles."""
        mirror = self.mirror
        for layout in self._layouts(mirror.folders(mirror.root)):
            for facts in mirror.objects(layout.root):
                if not facts.uri.lower().endswith(_SLIDES):  # beside which somebody writes
                    mirror.fetch_file(mirror.path_of(facts.uri), facts)
            encoders = mirror.folders(layout.engine("x").parent.parent)
            mirror.fetch(layout.engine(folder.name) for folder in encoders)
            tiles = mirror.objects(layout.tiles("x").parent)
            for facts in tiles[:1]:  # all are read alike, by the same segmenter
                path = mirror.path_of(facts.uri)
                mirror.fetch([path, layout.tissue_record(path.stem)])

    def publish_begun(self) -> None:
        """Publishes what the output is begun with, before its first slide.

        Raises:
            IdentityMismatchError: Another process began it otherwise in the same moment.
        """
        for layout in self._layouts():
            for path in layout.root.glob("tile_features/*/engine.json"):
                try:
                    self.mirror.publish([path])
                except ObjectReplacedError:
                    own = _engine_of(path)
                    self.mirror.fetch_file(path, self.mirror.putter.facts(self.mirror.uri_of(path)))
                    if _engine_of(path) != own:
                        raise IdentityMismatchError(
                            f"another process began {self.mirror.shown} in the same moment, with "
                            f"another engine of the tile encoder ({_engine_of(path)}, here {own})",
                            expected="one engine for all features of an output",
                            remedy="run the same command again: it follows the other one",
                        ) from None

    @contextmanager
    def shared_runs(self, layout: OutputLayout) -> Iterator[None]:
        """Around the writing of `run.json`: what others say is taken in, and it is published."""
        mirror, runs = self.mirror, layout.runs / "*"
        mirror.fetch([runs, layout.run_report])
        before = set(files_at(runs))
        yield
        mirror.publish([runs])
        for gone in before - set(files_at(runs)):  # nothing in it was the last word
            mirror.putter.remove(mirror.uri_of(gone))
        for _ in range(_MOST_TRIES):
            mirror.publish_view(layout.run_report)
            known = set(files_at(runs))
            mirror.fetch([runs])
            if set(files_at(runs)) <= known:  # the last one to write it has seen all
                return
            write_view(layout)

    def publish_cohort(self) -> None:
        """Publishes what belongs to the cohort as a whole: tables, pages, predictions.

        Raises:
            SlidenetError: The bucket does not take it.
        """
        for layout in self._layouts():
            views = {layout.run_report, layout.tissue_table, layout.contact_sheet}
            tables = layout.root.glob("explanations/**/agreement.csv")
            views |= {path for path in tables if "h5" not in path.parts}
            for path in sorted(views):
                self.mirror.publish_view(path)
            results = set(files_at(layout.root / "*")) - views
            self.mirror.publish(sorted(results))

    def slides_with_tiles(self, layout: OutputLayout) -> set[str]:
        """The slides of the bucket that have tiles, after their records were fetched."""
        mirror = self.mirror
        mirror.fetch([layout.tissue_record("x").parent / "*"])
        names = (mirror.path_of(one.uri).name for one in mirror.objects(layout.tiles("x").parent))
        return {name.removesuffix(".h5") for name in names if name.endswith(".h5")}

    def _layouts(self, folders: Sequence[Path] = ()) -> list[OutputLayout]:
        """The output, and those of further feature sets within it."""
        root = self.mirror.root
        further = {*root.glob("features_[0-9]*"), *folders}
        numbered = sorted(path for path in further if path.name.startswith("features_"))
        return [OutputLayout(root), *map(OutputLayout, numbered)]


_outputs: ContextVar[tuple[BucketOutput, ...]] = ContextVar("_outputs", default=())


def output_of(root: Path) -> BucketOutput | None:
    """The bucket that an output folder of a running verb stands for; None of a plain folder."""
    found = (one for one in _outputs.get() if root.is_relative_to(one.mirror.root))
    return next(found, None)


def to_buckets(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb whose `out` may also be the address of a bucket."""
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def with_bucket(*args: P.args, **keywords: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **keywords)
        except TypeError:
            return verb(*args, **keywords)  # which says what is wrong
        uri = uri_of(given.arguments.get("out"))
        if uri is None:
            return verb(*args, **keywords)
        with bucket_output(uri, cache_of(given.arguments.get("fleet"))) as output:
            given.arguments["out"] = output.mirror.root
            return verb(*given.args, **given.kwargs)

    setattr(with_bucket, "takes_buckets", True)  # noqa: B010 - which mypy knows nothing of
    return with_bucket


@contextmanager
def bucket_output(uri: str, cache: Path) -> Iterator[BucketOutput]:
    """The folder of an output in a bucket, for the time of a verb.

    Args:
        uri: Address of the output.
        cache: Folder for copies of objects.

    Raises:
        ConfigError: Nobody can write there.
        ObjectStoreError: There is no such bucket, or no right to write.
        ClaimedElsewhere: The store knows no conditional writes, and another process writes there.
    """
    mirror = open_mirror(uri, cache)
    output = BucketOutput(mirror)
    _log.warning("%s is written by way of %s, its copy on this machine", mirror.shown, mirror.root)
    with ExitStack() as stack:
        if not mirror.conditions:
            stack.enter_context(_lease(mirror))
        output.fetch_begun()
        before = _outputs.set((*_outputs.get(), output))
        try:
            yield output
        except BaseException:
            with suppress(SlidenetError):  # what has gone wrong before is what is told
                output.publish_cohort()
            raise
        else:
            output.publish_cohort()
        finally:
            _outputs.reset(before)


@contextmanager
def _lease(mirror: Mirror) -> Iterator[None]:
    """Keeps other writers away from a store that would let two of them write the same object."""
    uri, since, first = join_uri(mirror.uri, LEASE), time.monotonic(), None
    _log.warning(
        "the store of %s knows no conditional writes: one process at a time may write there",
        mirror.shown,
    )
    with ExitStack() as stack:
        while True:
            try:
                own = stack.enter_context(object_claim(mirror.putter, uri, mirror.shown))
                break
            except ClaimedElsewhere as error:
                first = first or error.seen
                if error.seen != first or time.monotonic() - since > STALE_S + 2 * BEAT_S:
                    raise
                if time.monotonic() - since < BEAT_S:
                    _log.warning("%s; waiting to see whether it is alive", error.found)
                time.sleep(BEAT_S)
        time.sleep(_BOTH_BEGAN_S)  # of two that began in the same moment, the later one is seen
        own.touch()
        own.check()
        yield


def cache_of(fleet: object) -> Path:
    """The folder for copies of objects: as asked for, else in the cache folder of the user."""
    asked = getattr(fleet, "cache", None)
    return default_folder() if asked is None else Path(asked)


def _engine_of(path: Path) -> Any:
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(path.read_text(encoding="utf-8"))
        return said["engine"], said["batch_size"]
    return None
