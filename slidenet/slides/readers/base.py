"""What the readers share: identity, resolution, thumbnail, closing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from slidenet.core.errors import MissingMppError
from slidenet.core.records import SlideMpp
from slidenet.slides.colour import WHITE
from slidenet.slides.fingerprint import fingerprint_file
from slidenet.slides.reader import RGB, Pixels, Size
from slidenet.slides.resolution import OVERRIDE, checked_mpp, resolve_mpp
from slidenet.slides.thumbnail import thumbnail_of


class SlideBase(ABC):
    """A `Slide` but for reading pixels.

    Args:
        path: An existing file.
        vendor: Its format.
        mpp: Resolution of level 0 declared by the user.
        icc: Whether to apply the embedded ICC profile.

    Raises:
        MissingMppError: The declared `mpp` cannot be.
    """

    def __init__(self, path: Path, vendor: str, mpp: float | None, icc: bool) -> None:
        if mpp is not None:
            checked_mpp(mpp, mpp, source=OVERRIDE, slide=path.name)
        self._arguments = (path, vendor, mpp, icc)
        self.path = path
        self.vendor = vendor
        self.properties: Mapping[str, str] = {}
        self.level_dimensions: tuple[Size, ...] = ()
        self.level_downsamples: tuple[float, ...] = ()
        self.background_rgb: RGB = WHITE
        self.icc_applied = False
        self._declared_mpp = mpp

    def __reduce__(self) -> tuple[object, ...]:
        # Handles and locks do not travel between processes; the other side opens the file again.
        return (type(self), self._arguments)

    def __repr__(self) -> str:
        width, height = self.level_dimensions[0]
        return f"<{self.vendor} slide {self.path.name!r}, {width}x{height} px>"

    @property
    def slide_mpp(self) -> SlideMpp:
        """See `Slide.slide_mpp`."""
        return resolve_mpp(
            self.properties, self._declared_mpp, vendor=self.vendor, slide=self.path.name
        )

    @property
    def has_mpp(self) -> bool:
        """See `Slide.has_mpp`."""
        try:
            return bool(self.slide_mpp)
        except MissingMppError:
            return False

    @cached_property
    def fingerprint(self) -> str:
        """See `Slide.fingerprint`."""
        return fingerprint_file(
            self.path, dicom_series=self.properties.get("dicom.SeriesInstanceUID")
        )

    def thumbnail(self, max_side_px: int) -> Pixels:
        """See `Slide.thumbnail`."""
        return thumbnail_of(self, max_side_px)

    @abstractmethod
    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""

    @abstractmethod
    def close(self) -> None:
        """See `Slide.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
