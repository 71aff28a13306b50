"""What the OME-XML of an OME-TIFF says about its images."""

import math
import re
from dataclasses import dataclass, field
from xml.parsers import expat

MICRONS_PER_UNIT = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6, "km": 1e9, "Å": 1e-4, "pm": 1e-6,
    "fm": 1e-9, "am": 1e-12, "dam": 1e7, "hm": 1e8, "in": 25400.0, "ft": 304800.0, "yd": 914400.0,
    "li": 25400 / 12, "pt": 25400 / 72, "mil": 25.4, "thou": 25.4,
}  # fmt: skip
"""Units of length that OME knows; "pixel" and "reference frame" are none."""

_RGB_NAMES = tuple({letter, word} for letter, word in (("r", "red"), ("g", "green"), ("b", "blue")))
_RGB_COLOURS = tuple({value, value - 2**32} for value in (0xFF0000FF, 0x00FF00FF, 0x0000FFFF))
MOST_CHARACTERS = 16_000_000
"""Half a second of work; the XML of 10,000 planes has a tenth of it."""

_MOST_PLACES = 64
"""Of one image that are kept: three are ever asked for."""
_ASSOCIATED = re.compile(r"(?:^|[\W_])(label|macro|thumbnail)(?: image)?$")
_NUMBERED = re.compile(r"(channel|ch|c)?[\W_]*[\d:]*")
_NO_ENTITIES = ("<!DOCTYPE", "<!ENTITY")


@dataclass(slots=True)
class StoredPlanes:
    """One `TiffData`: which planes of an image lie in which directories.

    Attributes:
        channel: FirstC, the channel of the first of them.
        is_first: Whether it is of the first focal plane and time point.
        directory: IFD of the first one; None where it is not said.
        count: How many follow each other.
        uuid: The file they lie in; empty where it is this one.
    """

    channel: int
    is_first: bool
    directory: int | None
    count: int
    uuid: str = ""


@dataclass(slots=True)
class OmeImage:
    """One `Image` of the OME-XML.

    Attributes:
        name: Its name ("label", "macro" and the like).
        size: (width, height).
        channels: SizeC: channels, colours of one RGB channel counted singly.
        slices: SizeZ.
        times: SizeT.
        pixel_type: "uint8", "int16", "float", ...
        significant_bits: Bits of a sample that are used, where it says so.
        mpp: Microns per pixel (x, y), None where it is not said.
        unit_problem: What is wrong with the physical size, as a clause.
        channel_names: Name of each `Channel`, "" where it has none.
        channel_colours: Colour of each `Channel` as 32-bit RGBA.
        contrasts: What the channels say about the microscopy ("Brightfield", "Fluorescence").
        stored: Where its planes lie, as far as it says so.
        is_elsewhere: Whether it says that all of them lie in other files.
    """

    name: str = ""
    size: tuple[int, int] = (0, 0)
    channels: int = 1
    slices: int = 1
    times: int = 1
    pixel_type: str = ""
    significant_bits: int | None = None
    mpp: tuple[float | None, float | None] = (None, None)
    unit_problem: str | None = None
    channel_names: list[str] = field(default_factory=list)
    channel_colours: list[int] = field(default_factory=list)
    contrasts: list[str] = field(default_factory=list)
    stored: list[StoredPlanes] = field(default_factory=list)
    is_elsewhere: bool = False

    @property
    def first_directory(self) -> int | None:
        """IFD of its first plane, where it says so."""
        number = self.directory_of(0)
        return self.stored[0].directory if number is None and self.stored else number

    def directory_of(self, channel: int) -> int | None:
        """IFD of a channel in the first focal plane and time point; None where none is said."""
        for planes in self.stored:
            place = channel - planes.channel
            if planes.is_first and planes.directory is not None and 0 <= place < planes.count:
                return planes.directory + place
        return None

    @property
    def associated(self) -> str | None:
        """What its name says it is instead of the slide: "label", "macro", "thumbnail"; or None."""
        # "label image", "scan 3 #macro": the last word, so that "macrophages" is a slide.
        kind = _ASSOCIATED.search(self.name.strip().lower())
        return kind[1] if kind else None

    @property
    def is_rgb_by_channels(self) -> bool:
        """Whether its three channels are red, green and blue, by name, colour or microscopy."""
        if self.channels != 3 or len(self.channel_names) not in (0, 1, 3):
            return False
        names = [name.strip().lower() for name in self.channel_names]
        if len(names) == 3 and any(names):
            return all(name in allowed for name, allowed in zip(names, _RGB_NAMES, strict=True))
        if len(self.channel_colours) == 3:
            pairs = zip(self.channel_colours, _RGB_COLOURS, strict=True)
            return all(colour in allowed for colour, allowed in pairs)
        return bool(self.contrasts) and set(self.contrasts) == {"brightfield"}

    @property
    def says_nothing_of_channels(self) -> bool:
        """Whether it has three channels that nothing tells from red, green and blue."""
        names = [name.strip().lower() for name in self.channel_names]
        unnamed = all(_NUMBERED.fullmatch(name) for name in names)
        return self.channels == 3 and unnamed and not self.channel_colours and not self.contrasts


def read_ome(text: str) -> tuple[OmeImage, ...]:
    """The images of an OME-XML; none where the text is no OME-XML, is broken, or too long.

    Nothing is kept but these records, however long the text is, and no entity is expanded.
    """
    head = text[:4096]
    if "<OME" not in head and ":OME" not in head:
        return ()
    if len(text) > MOST_CHARACTERS or any(word in text for word in _NO_ENTITIES):
        return ()
    images: list[OmeImage] = []
    file_uuid = ""
    in_uuid = is_kept = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal file_uuid, in_uuid, is_kept
        name = tag.rpartition(":")[2]
        if name == "OME":
            file_uuid = attributes.get("UUID", "")
        elif name == "Image":
            images.append(OmeImage(attributes.get("Name", "")))
        elif images and name == "Pixels":
            _take_pixels(images[-1], attributes)
        elif images and name == "Channel":
            image = images[-1]
            image.channel_names.append(attributes.get("Name", ""))
            if (colour := _whole(attributes.get("Color"))) is not None:
                image.channel_colours.append(colour)
            contrast = attributes.get("ContrastMethod") or attributes.get("IlluminationType")
            if contrast is not None:
                image.contrasts.append(contrast.lower())
            elif "EmissionWavelength" in attributes:
                image.contrasts.append("fluorescence")
        elif images and name == "TiffData":
            stored = _stored_planes(attributes)
            is_kept = not images[-1].stored or (
                stored.is_first and len(images[-1].stored) < _MOST_PLACES
            )
            if is_kept:
                images[-1].stored.append(stored)
        elif is_kept and name == "UUID":
            in_uuid = True

    def end(tag: str) -> None:
        nonlocal in_uuid
        in_uuid = in_uuid and tag.rpartition(":")[2] != "UUID"

    def text_of(data: str) -> None:
        if in_uuid:
            images[-1].stored[-1].uuid += data

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text_of
    try:
        parser.Parse(text, True)
    except expat.ExpatError:
        return ()
    for image in images:
        here = [planes for planes in image.stored if planes.uuid.strip() in ("", file_uuid)]
        image.is_elsewhere = bool(image.stored) and not here
        image.stored = here
    return tuple(images)


def _stored_planes(attributes: dict[str, str]) -> StoredPlanes:
    channel, z, t = (_whole(attributes.get(f"First{axis}")) or 0 for axis in "CZT")
    directory, count = _whole(attributes.get("IFD")), _whole(attributes.get("PlaneCount"))
    return StoredPlanes(channel, z == 0 == t, directory, count or 1)


def _take_pixels(image: OmeImage, attributes: dict[str, str]) -> None:
    image.size = (_whole(attributes.get("SizeX")) or 0, _whole(attributes.get("SizeY")) or 0)
    image.channels = _whole(attributes.get("SizeC")) or 1
    image.slices = _whole(attributes.get("SizeZ")) or 1
    image.times = _whole(attributes.get("SizeT")) or 1
    image.pixel_type = attributes.get("Type", "")
    image.significant_bits = _whole(attributes.get("SignificantBits"))
    x, y = (_microns(image, attributes, axis) for axis in "XY")
    image.mpp = (x, y)


def _microns(image: OmeImage, attributes: dict[str, str], axis: str) -> float | None:
    text = attributes.get(f"PhysicalSize{axis}")
    if text is None:
        return None
    unit = attributes.get(f"PhysicalSize{axis}Unit", "µm")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if unit not in MICRONS_PER_UNIT:
        image.unit_problem = (
            f"PhysicalSize{axis} is {text} in the unit {unit!r}, which is no length"
        )
        return None
    if not (math.isfinite(value) and value > 0):
        image.unit_problem = f"PhysicalSize{axis} is {text!r}"
        return None
    return value * MICRONS_PER_UNIT[unit]


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
