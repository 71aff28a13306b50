"""Opening a slide, whatever it is."""

import logging
import os
from pathlib import Path

from openslide import OpenSlideError

from slidenet.core.errors import ConfigError, PluginError, UnknownNameError, UnreadableSlideError
from slidenet.core.registry import Registry
from slidenet.slides.admission import (
    SCANNER_FORMATS,
    check_file,
    check_foreign_format,
    check_no_scanner_file,
    check_picture,
    check_whole_tiff,
    explain_content,
    way_out,
)
from slidenet.slides.isolation import open_isolated
from slidenet.slides.limits import LIMITS, ReadingLimits, limits_in_force
from slidenet.slides.protocol import Slide
from slidenet.slides.readers.base import ReaderDeclinedError, SlideReader
from slidenet.slides.readers.fastslide import FastSlideReader
from slidenet.slides.readers.flat import MEETS, FlatReader
from slidenet.slides.readers.openslide import OpenSlideReader
from slidenet.slides.readers.tiled import TiledReader
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.slides.tile_images.listing import DEEPZOOM_SUFFIX, is_tile_folder
from slidenet.slides.tile_images.reader import TileImagesReader

AUTOMATIC: tuple[type[SlideReader], ...] = (TiledReader, OpenSlideReader, FlatReader)
"""slidenet's own readers, in the order they are asked whether they know a file."""

READERS: Registry[type[SlideReader]] = Registry(
    "slide reader",
    group="slidenet.slide_readers",
    accepts=lambda entry: isinstance(entry, type) and issubclass(entry, SlideReader),
    expected="a subclass of slidenet.slides.SlideReader",
)
for _reader in AUTOMATIC:
    READERS.add(_reader.name, _reader)
READERS.add(FastSlideReader.name, FastSlideReader)

SLIDE_SUFFIXES = tuple(
    sorted({suffix for reader in AUTOMATIC for suffix in reader.suffixes} | {DEEPZOOM_SUFFIX})
)
"""What a folder of slides is searched for, lower case. The content decides how a file is read."""

_log = logging.getLogger(__name__)


def open_slide(
    path: str | os.PathLike[str],
    mpp: DeclaredMpp | None = None,
    *,
    icc: bool = False,
    reader: str | None = None,
    isolate: bool = False,
    tiles: TileDeclaration | None = None,
    limits: ReadingLimits = LIMITS,
) -> Slide:
    """Opens a slide, by its content and not by its name.

    A folder of tile images, or a DeepZoom picture (.dzi), is a slide whose tiles are cut already.
    Tiles of TIFF slides are decoded by slidenet itself where that gives openslide's pixels; then
    come the formats openslide 4 knows, then flat PNG, JPEG and TIFF images. `Slide.reader_note`
    says which it was and why. A slide that does not say its resolution opens too; asking for its
    `slide_mpp` raises.

    Args:
        path: The file, or a folder of tile images. Of a slide made of several files, the one
            openslide opens (.mrxs, .vms, any one .dcm).
        mpp: Microns per pixel of level 0, where the file does not say it or is wrong; wins over
            the file. Where the file is wrong in saying that pixels are not square: (x, y).
        icc: Apply the embedded ICC profile, so that pixels are sRGB. A file without a profile is
            read as it is; `icc_applied` then is False.
        reader: "tiled", "openslide", "flat", "fastslide" (a package to be installed), or the name
            or import path of a reader of another package; None takes the first of the others that
            knows the file.
        isolate: Open and read it in a process of its own, which a damaged slide may crash or keep
            busy without harm; see `slides.isolation`.
        tiles: What is declared of a folder of tile images.
        limits: How much work and memory the slide may cost.

    Raises:
        ConfigError: `isolate` was asked for where the system cannot limit a process, or for a
            reader that only this process knows.
        MissingMppError: `mpp` was given and cannot be.
        UnknownNameError: No reader has this name.
        UnreadableSlideError: Missing, empty, truncated, a folder, or not a slide.
    """
    if isolate:
        if reader is not None:
            READERS[reader]  # an unknown one is refused here, with the names there are
        try:
            return open_isolated(path, mpp, icc=icc, reader=reader, tiles=tiles, limits=limits)
        except (UnknownNameError, PluginError) as error:
            raise ConfigError(
                f"the reader {reader!r} is known to this process only",
                expected="a reader that another process can import, to read isolated slides",
                remedy="put it into a module and give its import path, or give --no-isolate",
                slide=Path(path).name,
            ) from error
    path = Path(path)
    if is_tile_folder(path):
        if reader is not None:
            raise UnreadableSlideError(
                f"the reader {reader!r} was asked for, and the slide is a folder of tile images",
                expected="a slide file",
                remedy="leave out --reader (in Python, reader)",
                slide=path.name,
            )
        with limits_in_force(limits):
            return TileImagesReader(path, mpp, icc, tiles)
    check_file(path)
    expected = f"a file that the reader {reader!r} knows"
    if reader is None:
        expected = "a format openslide reads, or a PNG, JPEG or TIFF image"
    candidates = AUTOMATIC if reader is None else (READERS[reader],)
    if set(candidates) <= set(AUTOMATIC):
        check_foreign_format(path)
    declined: list[str] = []
    for candidate in candidates:
        with limits_in_force(limits):
            if not candidate.can_read(path):
                continue
            if reader == FlatReader.name and _is_scanner_file(path) and _others_know(path, reader):
                continue
            try:
                slide = candidate.open(path, mpp, icc=icc)
            except ReaderDeclinedError as error:
                declined.append(f"not {candidate.name}: {error}")
                _log.info("slide %r is not read by %r: %s", path.name, candidate.name, error)
                continue
            except UnreadableSlideError as error:
                if declined and isinstance(error.__cause__, OpenSlideError):
                    # What openslide lacks is no reason where slidenet's own reader has it.
                    error.found += f"; {declined[0]}"
                raise
            slide.add_notes(declined)
            return slide
    if reader is None and declined:
        raise UnreadableSlideError(
            f"no reader of slidenet reads it ({'; '.join(declined)})",
            expected="a layout that one of them reads",
            remedy=way_out("a TIFF"),
            slide=path.name,
        )
    with limits_in_force(limits):
        if declined or (reader is not None and _others_know(path, reader)):
            why = declined[0].partition(":")[2] if declined else ""
            raise UnreadableSlideError(
                f"the reader {reader!r} does not read it" + (f":{why}" if why else ""),
                expected=expected,
                remedy="leave out --reader (in Python, reader)",
                slide=path.name,
            )
        check_no_scanner_file(path)
        index = check_whole_tiff(path, strips=True)
    if index is not None:
        check_picture(index, reader=reader or "flat", meets=MEETS, first_page=False)
    content = explain_content(path)
    raise UnreadableSlideError(
        f"it is not a slide but {content}",
        expected=expected,
        remedy=way_out(content),
        slide=path.name,
    )


def _is_scanner_file(path: Path) -> bool:
    return path.suffix.lower() in SCANNER_FORMATS


def _others_know(path: Path, reader: str) -> bool:
    """Whether leaving out `reader` would help; a preview with a scanner's name is no slide."""
    others = [other for other in AUTOMATIC if other is not READERS[reader]]
    if _is_scanner_file(path):
        others = [other for other in others if other is not FlatReader]
    return any(other.can_read(path) for other in others)
