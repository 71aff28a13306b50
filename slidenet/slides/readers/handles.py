"""openslide handles that outlive their errors."""

import os
import threading
from pathlib import Path

import openslide
from openslide import OpenSlide
from PIL import Image

from slidenet.core.errors import PixelReadError, SlideError, UnreadableSlideError
from slidenet.slides.admission import why_not_opened
from slidenet.slides.protocol import Size


class SharedHandle:
    """One openslide handle for many threads, replaced after each failure.

    openslide reads concurrently on one handle, but its errors latch: after one failed read every
    later read on that handle fails, those of other threads included. A failing thread therefore
    takes the handle out of service and asks once more on a fresh one; only when that fails too is
    its region at fault. A handle is never used across a fork, where the processes would share the
    position in the file.

    Args:
        path: The slide.
        vendor: Its format, for messages.

    Raises:
        UnreadableSlideError: The slide cannot be opened.
    """

    def __init__(self, path: Path, vendor: str) -> None:
        self._path = path
        self._vendor = vendor
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False
        self._handle: OpenSlide | None = self._open()

    def current(self) -> OpenSlide:
        """The handle in service; opened now where there is none.

        Raises:
            SlideError: The slide was closed.
            UnreadableSlideError: It cannot be opened again.
        """
        with self._lock:
            if self._closed:
                raise SlideError("the slide is closed", remedy="open it again", slide=self._name)
            if self._handle is None or self._pid != os.getpid():
                self._handle = self._open()
                self._pid = os.getpid()
            return self._handle

    def read_region(self, location: Size, level: int, size: Size) -> Image.Image:
        """RGBA pixels of a region.

        Raises:
            PixelReadError: The region cannot be decoded; the next read works.
            UnreadableSlideError: The slide cannot be opened again.
        """
        handle = self.current()
        try:
            return handle.read_region(location, level, size)
        except openslide.OpenSlideError:
            # Not closed here: another thread may be inside it. The last reference closes it.
            with self._lock:
                if self._handle is handle:
                    self._handle = None
        fresh = self._open()
        try:
            image = fresh.read_region(location, level, size)
        except openslide.OpenSlideError as error:
            fresh.close()
            raise PixelReadError(
                f"{size[0]}x{size[1]} px at {location}, level {level}, cannot be decoded ({error})",
                remedy="export or copy the slide again if this place matters; other places of it "
                "can still be read",
                slide=self._name,
            ) from error
        with self._lock:
            if self._handle is None and not self._closed:
                self._handle = fresh
        return image

    def close(self) -> None:
        """Closes the handle; threads still reading finish first."""
        with self._lock:
            self._closed = True
            self._handle = None  # the last reference closes it

    @property
    def _name(self) -> str:
        return self._path.name

    def _open(self) -> OpenSlide:
        try:
            return OpenSlide(self._path)
        except openslide.OpenSlideError as error:
            found, remedy = why_not_opened(self._vendor, str(error))
            raise UnreadableSlideError(found, remedy=remedy, slide=self._name) from error
