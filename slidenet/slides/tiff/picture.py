"""Which pages of a TIFF are the picture of the slide, and whether reading them is all of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slidenet.core.text import name_some
from slidenet.slides.protocol import Size
from slidenet.slides.pyramid import check_levels
from slidenet.slides.tiff import tags
from slidenet.slides.tiff.directory import Directory
from slidenet.slides.tiff.families import (
    LABEL,
    LEVEL,
    MACRO,
    OTHER,
    THUMBNAIL,
    family_of,
    is_reduced,
    is_whole,
    role_of,
)
from slidenet.slides.tiff.ome import OmeImage, read_ome

_OME_ELSEWHERE = re.compile(r"<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile=\"([^\"]*)\"")
_MOST_RIVALS = 16
_IMAGEJ_STACK = re.compile(r"ImageJ=.*?^images=(\d{1,9})$", re.DOTALL | re.MULTILINE)
_OME_HEAD = 8192


@dataclass(frozen=True, slots=True)
class Picture:
    """The pages of a file by what they show.

    Attributes:
        family: Maker, in openslide's words: "aperio", "hamamatsu", "leica", "philips",
            "ventana", "trestle", "generic-tiff"; "ome" for OME-TIFF.
        levels: The slide itself, largest first. Whether each is a scaled copy of the first is
            for `check_levels` to say.
        planes: For each level the pages that hold its colours: itself, or three grey pages that
            are red, green and blue.
        associated: "label", "macro" and "thumbnail" pages. They may carry names of patients.
        others: Pages that are none of these.
        foreign: Sizes of pages that are flagged as levels and cannot be, with the reason.
        ome: The images of the OME-XML, the one that `levels` shows first.
        incomplete: Why `levels` is not all of the slide, as a clause; None where it is.
        assumes_colours: Whether nothing but their number says that three grey pages are red,
            green and blue. It is so in a bright-field slide, and not in fluorescence.
        notes: What else a user should know, as clauses.
    """

    family: str
    levels: tuple[Directory, ...]
    planes: tuple[tuple[Directory, ...], ...]
    associated: Mapping[str, Directory]
    others: tuple[Directory, ...]
    foreign: Mapping[Size, str]
    ome: tuple[OmeImage, ...] = ()
    incomplete: str | None = None
    assumes_colours: bool = False
    notes: tuple[str, ...] = ()


def picture_of(directories: tuple[Directory, ...], *, ndpi: bool) -> Picture:
    """The picture a file holds.

    Args:
        directories: At least one.
        ndpi: Whether the layout is Hamamatsu's.
    """
    first = directories[0]
    ome = read_ome(first.description)
    family = family_of(first, ndpi=ndpi, ome=ome)
    if family == "ome":
        return _ome_picture(directories, ome)
    role = role_of(family, first)
    pages: dict[str, list[Directory]] = {LEVEL: [], OTHER: []}
    associated: dict[str, Directory] = {}
    for page in directories:
        kind = role(page)
        if kind in (LABEL, MACRO, THUMBNAIL):
            associated.setdefault(kind, page)
        else:
            pages[kind].append(page)
    if family == "generic-tiff":
        base, doubt = _base_of(directories)
    else:
        base, doubt = _largest(pages[LEVEL] or [first]), None
    levels, foreign = _sorted_levels(base, [*pages[LEVEL], *base.subifds])
    chosen = {id(page) for page in (*levels, *associated.values())}
    others = tuple(page for page in directories if id(page) not in chosen)
    incomplete, notes = _hidden(base, others)
    return Picture(
        family,
        levels,
        planes=tuple((page,) for page in levels),
        associated=associated,
        others=others,
        foreign=foreign,
        incomplete=doubt or incomplete,
        notes=notes,
    )


def _base_of(directories: tuple[Directory, ...]) -> tuple[Directory, str | None]:
    """Level 0 of a plain TIFF, and why it may be another page, as a clause.

    The largest whole image, tiled if any is: some writers put a small one first. Where the first
    one is no smaller copy of it, one of them may be a photo of the glass; the one that has smaller
    copies is the slide.
    """
    whole = [page for page in directories if is_whole(page)] or [directories[0]]
    candidates = [page for page in whole if page.is_tiled] or whole
    first, largest = candidates[0], _largest(candidates)
    reduced = [page for page in directories if is_reduced(page)]

    def num_copies(page: Directory) -> int:
        return len(page.subifds) + sum(_is_copy(small, page) for small in reduced)

    best = max([largest, *candidates[:_MOST_RIVALS]], key=num_copies)
    if best is largest and (
        largest is first or _is_copy(first, largest) or num_copies(largest) > num_copies(first)
    ):
        return largest, None
    if best is first:
        return first, None
    other = first if best is largest else best
    return largest, (
        f"page {other.number} has {other.width}x{other.height} px and page {largest.number} "
        f"{largest.width}x{largest.height} px, and nothing says for sure which is the slide"
    )


def _is_copy(small: Directory, large: Directory) -> bool:
    """Whether a page has the shape and the kind of pixels of a smaller copy."""
    level = check_levels([large.size, small.size])[1]
    return level.problem is None and _kind(small) == _kind(large)


def _largest(pages: list[Directory]) -> Directory:
    return max(pages, key=lambda page: page.width * page.height)


def _sorted_levels(
    base: Directory, candidates: list[Directory]
) -> tuple[tuple[Directory, ...], dict[Size, str]]:
    """Levels, largest first, each size once; and the sizes of what only claims to be a level."""
    levels, foreign = [base], {}
    others = [page for page in candidates if page is not base]
    for page in sorted(others, key=lambda page: -page.width * page.height):
        if page.size == levels[-1].size or page.is_tiled != base.is_tiled:
            continue
        if _kind(page) != _kind(base):
            foreign[page.size] = (
                f"its pixels are of another kind ({_words(page)}) than those of level 0 "
                f"({_words(base)})"
            )
        else:
            levels.append(page)
    return tuple(levels), foreign


def _kind(page: Directory) -> tuple[int, ...]:
    colours = tags.RGB if page.photometric == tags.YCBCR else page.photometric
    return page.samples, page.bits, page.sample_format, page.planar, colours


def _words(page: Directory) -> str:
    name = tags.PHOTOMETRICS.get(page.photometric, f"photometric {page.photometric}")
    return f"{page.samples} x {page.bits} bits, {name}"


def _hidden(base: Directory, others: tuple[Directory, ...]) -> tuple[str | None, tuple[str, ...]]:
    """What pages that nobody reads mean, if they are at least as large as the one that is read."""
    stacked = _IMAGEJ_STACK.match(base.description)
    if stacked is not None and int(stacked[1]) > 1:
        return f"it is an ImageJ stack of {int(stacked[1])} images", ()
    elsewhere = _OME_ELSEWHERE.search(base.description[:_OME_HEAD])
    if elsewhere is not None and base.samples == 1:
        return (
            f"it is one grey part of a set of files, and what its channels are stands in another "
            f"file ({elsewhere[1]})"
        ), ()
    rivals = [
        page for page in others
        if page.width >= base.width and page.height >= base.height and is_whole(page)
    ]  # fmt: skip
    if not rivals:
        return None, ()
    size = f"{base.width}x{base.height} px"
    if base.samples == 1 and any(page.samples == 1 for page in rivals):
        return (
            f"it holds {len(rivals) + 1} pages of {size} with one sample per pixel: its colours or "
            "channels are pages of their own"
        ), ()
    words = "page is" if len(rivals) == 1 else "pages are"
    return None, (
        f"{len(rivals)} further {words} at least as large as the one read ({size}): focal planes, "
        "time points or other scans are not read",
    )


def _ome_picture(directories: tuple[Directory, ...], ome: tuple[OmeImage, ...]) -> Picture:
    """Levels of the largest image of an OME-TIFF: SubIFDs, or flagged pages of the chain."""
    numbers = _first_directories(ome, directories)
    starts = {
        number: image
        for image, number in zip(ome, numbers, strict=True)
        if number is not None and image.associated is None
    }
    if not starts:
        starts = {0: ome[0]}
    start = max(starts, key=lambda number: _area(directories[number]))
    image, base = starts[start], directories[start]
    associated: dict[str, Directory] = {}
    for other, number in zip(ome, numbers, strict=True):
        if number is not None and (kind := other.associated):
            associated.setdefault(kind, directories[number])
    planes = _colour_planes(image, directories, start)
    as_colours = (
        base.samples == 1
        and (base.bits, base.sample_format) == (8, tags.UNSIGNED)
        and (image.is_rgb_by_channels or image.says_nothing_of_channels)
        and (image.slices, image.times) == (1, 1)
        and len(planes) == 3
        and len({(_kind(page), page.size, page.compression) for page in planes}) == 1
        and len({tuple(sub.size for sub in page.subifds) for page in planes}) == 1
    )
    reduced = [page for page in directories if is_reduced(page)] if len(starts) == 1 else []
    candidates = [base, *base.subifds, *([] if as_colours else reduced)]
    levels, foreign = _sorted_levels(base, candidates)
    if as_colours:
        by_size = [{page.size: page for page in (plane, *plane.subifds)} for plane in planes]
        cut = tuple(tuple(pages[level.size] for pages in by_size) for level in levels)
    else:
        cut = tuple((level,) for level in levels)
    chosen = {id(page) for pages in (*cut, tuple(associated.values())) for page in pages}
    others = tuple(page for page in directories if id(page) not in chosen)
    incomplete, notes = _hidden(base, others)
    if as_colours:
        incomplete = None
    elif base.samples == 1 and image.channels > 1:
        incomplete = (
            f"it holds {image.channels} channels ({image.pixel_type}) as pages of their own, which "
            "are not said to be red, green and blue"
        )
    elif image.slices > 1 or image.times > 1:
        notes = (
            f"it holds {image.slices} focal planes and {image.times} time points; the first is "
            "read",
        )
    scenes = [other.name or "without a name" for other in starts.values() if other is not image]
    if scenes and not notes:
        notes = (f"its further images are not read: {name_some(scenes)}",)
    kept = (image, *(other for other in ome if other is not image))
    return Picture(
        "ome",
        levels,
        planes=cut,
        associated=associated,
        others=others,
        foreign=foreign,
        ome=kept,
        incomplete=incomplete,
        assumes_colours=as_colours and not image.is_rgb_by_channels,
        notes=notes,
    )


def _colour_planes(
    image: OmeImage, directories: tuple[Directory, ...], start: int
) -> tuple[Directory, ...]:
    """The pages of the first three channels, where the image says they lie; else in a row."""
    numbers = [image.directory_of(channel) for channel in range(3)]
    said = {number for number in numbers if number is not None}
    if len(said) < 3 or not said <= set(range(len(directories))):
        return directories[start : start + 3]
    return tuple(directories[number] for number in numbers if number is not None)


def _first_directories(
    ome: tuple[OmeImage, ...], directories: tuple[Directory, ...]
) -> list[int | None]:
    """The page each image begins with: as it says, else the next one of its size."""
    numbers: list[int | None] = []
    following = 0
    for image in ome:
        number = image.first_directory
        if number is None and not image.is_elsewhere:
            places = range(following, len(directories))
            number = next((i for i in places if directories[i].size == image.size), None)
        if number is not None and 0 <= number < len(directories):
            numbers.append(number)
            following = number + 1
        else:
            numbers.append(None)
    return numbers


def _area(page: Directory) -> int:
    return page.width * page.height
