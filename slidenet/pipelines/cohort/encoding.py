"""The tiles of one slide made into features: read on, read again, and never quietly given up."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field

import numpy as np

from slidenet.core import status
from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import (
    ObjectAwayError,
    ObjectStoreError,
    SlideTimeoutError,
    UnreadableSlideError,
)
from slidenet.core.records import TileSet
from slidenet.data import TileStream
from slidenet.pipelines.cohort.loss import check_loss, most_unreadable
from slidenet.pipelines.cohort.progress import Progress
from slidenet.slides import Slide, none_readable
from slidenet.stores import FeatureFile, FeatureWriter

_COPIED_BATCHES = 16


@dataclass
class SlideEncoding:
    """Encodes the tiles of one slide.

    A tile that could not be read is asked for once more when the slide has been opened anew (a
    fresh handle, which remembers no error), and in every later run.

    Attributes:
        stream: Turns tiles into features.
        tile_set: The tiles.
        open_slide: Opens the slide they were chosen on.
        max_unreadable: Share of the tiles that may be unreadable.
        progress: Told of tiles.
        reason: Why the first unreadable tile is; None until one was met.
        note: What else is to be said of unreadable tiles, as a clause.
    """

    stream: TileStream
    tile_set: TileSet
    open_slide: Callable[[], AbstractContextManager[Slide]]
    max_unreadable: float
    progress: Progress
    reason: str | None = field(default=None, init=False)
    note: str = field(default="", init=False)

    def encode(self, writer: FeatureWriter) -> None:
        """Writes the rows that are missing, and those that could not be read before.

        Raises:
            UnreadableSlideError: More tiles are lost than may be, or none could be read; what the
                writer holds is right.
        """
        self.progress.advance(writer.num_done, done_before=True)
        lost_more = True
        while lost_more:
            with self.open_slide() as slide:
                self._read_again(slide, writer)
                num_lost = len(writer.unreadable)
                self.check(num_lost, writer.num_done)
                self._read_on(slide, writer)
            lost_more = len(writer.unreadable) > num_lost
        if self.tile_set.num_tiles and not writer.any_readable:
            if not len(writer.unreadable):
                writer.discard()  # nothing is stored for them, and will not be
            raise none_readable(self.tile_set.num_tiles, self.reason, slide=self.tile_set.slide_id)

    def mend(self, file: FeatureFile, writer: Callable[[], FeatureWriter]) -> int:
        """Reads the unreadable tiles of a finished file again; writes it anew if any can be read.

        Args:
            file: The file.
            writer: Opens what replaces it.

        Returns:
            How many tiles could be read now.
        """
        found = [np.empty(0, np.int64)], [np.empty((0, file.feature_dim), np.float32)]
        try:
            with self.open_slide() as slide:
                unreadable = np.flatnonzero(file.status == status.UNREADABLE)
                for batch in self.stream.again(slide, self.tile_set, unreadable):
                    self.reason = self.reason or batch.reason
                    read = batch.status == status.OK
                    found[0].append(batch.rows[read])
                    found[1].append(batch.features[read])
        except (
            UnreadableSlideError,
            SlideTimeoutError,
            ObjectStoreError,
            ObjectAwayError,
        ) as error:
            # The file is as good as it was; slides may be put away once they are done.
            self.reason, self.note = self.reason or error.found, "; their slide cannot be read now"
        rows, features = np.concatenate(found[0]), np.concatenate(found[1])
        if len(rows):
            with writer() as new:
                self._copy(file, new, rows, features)
                new.finish()
        return len(rows)

    def check(self, num_unreadable: int, num_asked: int | None = None) -> None:
        """Refuses a slide that has lost more tiles than it may; see `check_loss`."""
        check_loss(
            num_unreadable,
            self.tile_set.num_tiles,
            self.max_unreadable,
            self.reason,
            num_asked=num_asked,
            slide=self.tile_set.slide_id,
        )

    def _read_again(self, slide: Slide, writer: FeatureWriter) -> None:
        for batch in self.stream.again(slide, self.tile_set, writer.unreadable):
            self.reason = self.reason or batch.reason
            read = batch.status == status.OK
            if read.any():
                writer.replace(batch.rows[read], batch.features[read], batch.status[read])

    def _read_on(self, slide: Slide, writer: FeatureWriter) -> None:
        """Writes the tiles behind the last, until too many of them are lost."""
        most = most_unreadable(self.tile_set.num_tiles, self.max_unreadable)
        batches = self.stream.features(
            slide,
            self.tile_set,
            start=writer.num_done,
            nearly_read=self.progress.next_slide_may_start,
        )
        with closing(batches):
            for batch in batches:
                writer.append(batch.features, batch.status)
                self.progress.advance(len(batch))
                self.reason = self.reason or batch.reason
                if len(writer.unreadable) > most:
                    return

    def _copy(
        self, file: FeatureFile, new: FeatureWriter, rows: IntArray, features: FloatArray
    ) -> None:
        """The rows of a file with others in the place of some; goes on where a kill left it."""
        file.prove()  # what is wrong in it would be right by the digests of the new one
        before = rows < new.num_done
        new.replace(rows[before], features[before], np.zeros(before.sum(), np.uint8))
        step, codes = _COPIED_BATCHES * self.stream.batch_size, file.status
        with file:
            for start in range(new.num_done, file.num_tiles, step):
                stop = min(start + step, file.num_tiles)
                kept, of_these = file.features[start:stop], codes[start:stop].copy()
                here = (rows >= start) & (rows < stop)
                kept[rows[here] - start] = features[here]
                of_these[rows[here] - start] = status.OK
                new.append(kept, of_these)
