"""DICOM slides: a series of files, one per level, in one folder.

openslide opens a series whose files are cut, and believes what a file says about its colours. It
opens the whole folder, so all files of the series are looked at here as well.
"""

from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission import dicom_file as tags
from slidenet.slides.admission.dicom_file import DicomFile
from slidenet.slides.admission.jpeg_header import (
    has_colour_transform,
    jpeg_colours,
    jpeg_frame,
)

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SLIDE = "VOLUME"
_READ = {
    "1.2.840.10008.1.2.1": "uncompressed",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
_NOT_READ = {
    tags.IMPLICIT: "implicit VR little endian",
    tags.EXPLICIT_BIG: "explicit VR big endian",
    tags.DEFLATED: "deflated",
    "1.2.840.10008.1.2.4.51": "JPEG extended (12 bits)",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 multi-component lossless",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 multi-component",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL recompression of JPEG",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 lossless, by resolution",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "run-length encoding",
}
_COLOURS = {"RGB": "RGB", "YBR_FULL_422": "YCbCr", "YBR_FULL": "YCbCr"}
_TRANSCODE = (
    "convert it to JPEG baseline, JPEG 2000 or uncompressed (GDCM: gdcmconv --j2k IN OUT; "
    "DCMTK: dcmdjpls, dcmdjpeg, dcmdrle)"
)


def why_dicom_is_unknown(path: Path) -> str | None:
    """Why openslide does not know a DICOM file, as a clause; None where it looks right."""
    file = DicomFile.read(path)
    if file is None:
        return None
    if file.texts.get(tags.SOP_CLASS) != WHOLE_SLIDE:
        return "it is a DICOM file of another kind than a whole-slide microscopy image"
    return None if file.truncation is None else f"it is truncated: {file.truncation}"


def check_dicom(path: Path) -> None:
    """Refuses a DICOM slide that openslide would read wrongly, in part, or for a cryptic reason.

    Raises:
        UnreadableSlideError: Naming the file of the series at fault.
    """
    asked = DicomFile.read(path)
    assert asked is not None, "openslide took it for DICOM"
    _check(asked, path, path.name)
    series, flavours = asked.texts.get(tags.SERIES), {asked.flavour}
    for sibling in sorted(path.parent.iterdir()):
        if series is None or sibling == path or not sibling.is_file():
            continue
        file = DicomFile.read(sibling)
        if file is not None and file.texts.get(tags.SERIES) == series:
            _check(file, sibling, path.name)
            flavours.add(file.flavour)
    if not flavours & {_SLIDE, ""}:
        raise UnreadableSlideError(
            f"it shows the {asked.flavour.lower()}, and no file of its series beside it the slide",
            expected="a file of the slide itself (image type VOLUME)",
            remedy="copy all files of the series into its folder",
            slide=path.name,
        )


def _check(file: DicomFile, path: Path, slide: str) -> None:
    if file.flavour not in (_SLIDE, ""):
        return  # label and overview are not read
    where = "it" if path.name == slide else f"{path.name} of the same series"
    problem = _codec_problem(file) or _pixel_problem(file) or _frame_problem(file)
    if problem is not None:
        found, expected, remedy = problem
        raise UnreadableSlideError(
            f"{where} {found}", expected=expected, remedy=remedy, slide=slide
        )


def _codec_problem(file: DicomFile) -> tuple[str, str, str] | None:
    syntax = file.texts.get(tags.TRANSFER_SYNTAX, "")
    if syntax in _READ:
        return None
    name = _NOT_READ.get(syntax, "an unknown compression")
    return (
        f"is stored as {name} (transfer syntax {syntax})",
        f"{', '.join(list(_READ.values())[:-1])} or {list(_READ.values())[-1]}",
        _TRANSCODE,
    )


def _pixel_problem(file: DicomFile) -> tuple[str, str, str] | None:
    samples = file.numbers.get(tags.SAMPLES)
    photometric = file.texts.get(tags.PHOTOMETRIC, "")
    bits = file.numbers.get(tags.BITS_STORED), file.numbers.get(tags.BITS_ALLOCATED)
    if samples is not None and samples != 3:
        return (
            f"has {samples} sample{'s' if samples != 1 else ''} per pixel ({photometric}), as "
            "fluorescence has",
            "3: brightfield in colour",
            "convert the channels you need into RGB with a fixed scale",
        )
    if None not in bits and bits != (8, 8):
        return (
            f"stores {bits[0]} of {bits[1]} bits per sample",
            "8 bits",
            "convert it to 8 bits per sample",
        )
    if file.numbers.get(tags.SIGNED):
        return "has signed samples", "unsigned 8-bit samples", "convert it to unsigned 8 bits"
    if file.numbers.get(tags.FOCAL_PLANES, 1) > 1:
        return (
            f"holds {file.numbers[tags.FOCAL_PLANES]} focal planes",
            "one",
            "export the plane that is in focus",
        )
    return _colour_problem(file, photometric)


def _colour_problem(file: DicomFile, photometric: str) -> tuple[str, str, str] | None:
    """What the first frame contradicts in what the file says of its colours."""
    stored = jpeg_colours(file.first_frame)
    if not file.first_frame:
        return None
    if photometric in ("YBR_ICT", "YBR_RCT") and not has_colour_transform(file.first_frame):
        frames, name = "JPEG 2000", "RGB or YCbCr as they are"
        evidence = "no component transform"
    elif stored is None or stored.colours == _COLOURS.get(photometric, stored.colours):
        return None
    else:
        frames, name, evidence = "JPEG", stored.colours, stored.evidence
    right = {"YCbCr": "YBR_FULL_422", "RGB": "RGB"}.get(name, "what they are")
    return (
        f"says its colours are {photometric}, but its {frames} frames are {name} ({evidence}), so "
        "that they would be shown in wrong colours",
        "colours that are what the file says",
        f"set PhotometricInterpretation (0028,0004) to {right} in every file of the series, or "
        "export the slide again",
    )


def _frame_problem(file: DicomFile) -> tuple[str, str, str] | None:
    again = "copy the slide again, with all files of its series"
    if file.truncation is not None:
        return f"is truncated: {file.truncation}", "a complete file", again
    numbers = file.numbers
    frame = jpeg_frame(file.first_frame)
    tile = numbers.get(tags.COLUMNS, 0), numbers.get(tags.ROWS, 0)
    if frame is not None and all(tile) and (frame.width, frame.height) != tile:
        return (
            f"says its tiles have {tile[0]}x{tile[1]} px, but its JPEG frames have "
            f"{frame.width}x{frame.height} px",
            "frames of the size that the file says",
            again,
        )
    shape = [
        numbers.get(tag, 0)
        for tag in (tags.MATRIX_COLUMNS, tags.COLUMNS, tags.MATRIX_ROWS, tags.ROWS)
    ]
    if file.texts.get(tags.ORGANISATION) != "TILED_FULL" or not all(shape):
        return None  # sparse: which frames there are is up to the file
    needed = -(-shape[0] // shape[1]) * -(-shape[2] // shape[3])
    if file.num_frames % needed == 0 and file.num_frames > 0:
        return None
    return (
        f"holds {file.num_frames} tiles of {shape[1]}x{shape[3]} px for {shape[0]}x{shape[2]} px",
        f"{needed} tiles",
        again,
    )
