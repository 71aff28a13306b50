"""Writes small MIRAX slides: an index file, and a folder of PNG images in several data files."""

import struct
from io import BytesIO
from pathlib import Path

from PIL import Image

from slidenet.core.arrays import UInt8Array

_SLIDE_ID = "0123456789abcdef"
_ENTRY_BYTES = 16
_INI = """[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {slide_id}
IMAGENUMBER_X = {across}
IMAGENUMBER_Y = {down}
OBJECTIVE_MAGNIFICATION = 20
SLIDE_TYPE = SLIDE_TYPE_{light}
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 0
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
[DATAFILE]
FILE_COUNT = {num_files}
{files}
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {mpp}
MICROMETER_PER_PIXEL_Y = {mpp}
IMAGE_FORMAT = PNG
IMAGE_FILL_COLOR_BGR = 16777215
DIGITIZER_WIDTH = {side}
DIGITIZER_HEIGHT = {side}
IMAGE_CONCAT_FACTOR = 0
"""


def write_mirax(
    path: str | Path,
    pixels: UInt8Array,
    *,
    mpp: float = 0.5,
    side_px: int = 128,
    num_files: int = 4,
    light: str = "BRIGHTFIELD",
    skip_white: bool = False,
) -> Path:
    """Writes a slide of one level that openslide opens as "mirax".

    Args:
        path: The index file, NAME.mrxs; the folder NAME is made beside it.
        pixels: uint8 (height, width, 3), sides whole multiples of `side_px`.
        mpp: Microns per pixel.
        side_px: Side of the images that the slide is stored in.
        num_files: Data files that the images are spread over in turn.
        light: What the slide says of its light, "BRIGHTFIELD" or "FLUORESCENCE".
        skip_white: Leave out images that are all white, as scanners do with glass. Where that
            leaves whole rows or columns empty, openslide reports bounds.

    Returns:
        `path`.
    """
    path = Path(path)
    assert path.suffix == ".mrxs", "openslide goes by the ending"
    height, width = pixels.shape[:2]
    assert height % side_px == width % side_px == 0, "sides are whole multiples of side_px"
    across, down = width // side_px, height // side_px
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(b"")
    Image.new("RGB", (60, 100), (200, 210, 220)).save(path, "JPEG")  # as scanners do: a preview
    names = [f"Data{i:04}.dat" for i in range(num_files)]
    contents = [bytearray() for _ in names]
    entries = b""
    for index in range(across * down):
        y, x = (side_px * i for i in divmod(index, across))
        image = pixels[y : y + side_px, x : x + side_px]
        if skip_white and (image == 255).all():
            continue
        stored = BytesIO()
        Image.fromarray(image).save(stored, "PNG")
        file = index % num_files
        place = len(contents[file])
        contents[file] += stored.getvalue()
        entries += struct.pack("<4i", index, place, len(stored.getvalue()), file)
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    head = b"01.02" + _SLIDE_ID.encode()
    root = len(head) + 8
    pointers = struct.pack("<2i", root, 0) + struct.pack("<3i", root + 4, 0, root + 12)
    page = struct.pack("<2i", len(entries) // _ENTRY_BYTES, 0) + entries
    (folder / "Index.dat").write_bytes(head + pointers + page)
    files = "\n".join(f"FILE_{i} = {name}" for i, name in enumerate(names))
    ini = _INI.format(
        slide_id=_SLIDE_ID,
        across=across,
        down=down,
        light=light,
        num_files=num_files,
        files=files,
        mpp=mpp,
        side=side_px,
    )
    (folder / "Slidedat.ini").write_text(ini, encoding="utf-8-sig")
    return path
