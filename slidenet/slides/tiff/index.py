"""The index of a TIFF file: all its images, read under a budget and believed only where checked."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from slidenet.slides.limits import ReadingLimits, current_limits
from slidenet.slides.tiff.building import DirectoryBuilder
from slidenet.slides.tiff.directory import Directory
from slidenet.slides.tiff.entries import Layout, RawDirectory, Source, TiffFaultError
from slidenet.slides.tiff.picture import Picture, picture_of


@dataclass(frozen=True, eq=False)
class TiffIndex:
    """What a TIFF file says it holds.

    Attributes:
        path: The file.
        file_bytes: Its size.
        order: "<" little or ">" big endian.
        big: BigTIFF.
        ndpi: Hamamatsu NDPI, a TIFF with 64-bit offsets of its own.
        directories: The images of the chain, in the file's order.
        problems: What is wrong with the chain itself, as clauses; what is wrong with an image
            stands there.
    """

    path: Path
    file_bytes: int
    order: str
    big: bool
    ndpi: bool
    directories: tuple[Directory, ...]
    problems: tuple[str, ...] = ()

    @cached_property
    def picture(self) -> Picture:
        """Which directories are the slide; there must be at least one."""
        return picture_of(self.directories, ndpi=self.ndpi)

    @classmethod
    def read(cls, path: Path, limits: ReadingLimits | None = None) -> Self | None:
        """Reads the index of a file; None where it is no TIFF.

        A DICOM file is none, though its preamble may make it look like one.

        No pixel and no list of tiles is read. Work is bounded by `max_directories` and
        `max_index_bytes`; a directory that was seen is not read again.

        Raises:
            OSError: The file cannot be read.
        """
        limits = limits or current_limits()
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM":
                return None
            source = Source(file, size, limits.max_index_bytes)
            layout = Layout.of(source)
            if layout is None:
                return None
            chain = _Chain(path, source, layout, limits.max_directories)
            directories = chain.read()
        return cls(
            path, size, layout.order, layout.big, layout.ndpi, directories, tuple(chain.problems)
        )


class _Chain:
    """Follows directories from one to the next, each once."""

    def __init__(self, path: Path, source: Source, layout: Layout, most: int) -> None:
        self.problems: list[str] = []
        self._path = path
        self._source = source
        self._layout = layout
        self._most = most
        self._seen: set[int] = set()

    def read(self) -> tuple[Directory, ...]:
        found: list[Directory] = []
        offset = self._layout.first
        try:
            if offset == 0:
                raise TiffFaultError("it has no directory")
            while offset:
                directory, offset = self._directory(offset, len(found))
                found.append(directory)
        except TiffFaultError as fault:
            self.problems.append(str(fault))
        return tuple(found)

    def _directory(self, offset: int, number: int) -> tuple[Directory, int]:
        """One directory with its SubIFDs, and where the next one lies."""
        raw = self._enter(offset)
        builder = self._builder(raw)
        directory = builder.build(number)
        subifds = [
            self._builder(self._enter(place)).build(number) for place in builder.subifd_offsets()
        ]
        return replace(directory, subifds=tuple(subifds)), raw.following

    def _builder(self, raw: RawDirectory) -> DirectoryBuilder:
        return DirectoryBuilder(self._path, self._source, self._layout, raw)

    def _enter(self, offset: int) -> RawDirectory:
        if offset in self._seen:
            raise TiffFaultError(f"its directories point in a circle, to byte {offset}")
        if len(self._seen) >= self._most:
            raise TiffFaultError(
                f"it has more than {self._most} directories (limit max_directories)"
            )
        self._seen.add(offset)
        if offset + 8 > self._source.size:
            raise TiffFaultError(
                f"a directory should lie at byte {offset}, the file ends at {self._source.size}"
            )
        return self._layout.read_directory(self._source, offset)
