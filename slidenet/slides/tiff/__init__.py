"""The index of TIFF files: which images a file holds, where they lie, and whether that can be."""

from slidenet.slides.tiff.directory import Directory, StoredNumbers
from slidenet.slides.tiff.index import TiffIndex
from slidenet.slides.tiff.ome import OmeImage
from slidenet.slides.tiff.picture import Picture
from slidenet.slides.tiff.pixel_format import Need, PixelFormat, picture_format, pixel_format
from slidenet.slides.tiff.structure import find_fault

__all__ = [
    "Directory",
    "Need",
    "OmeImage",
    "Picture",
    "PixelFormat",
    "StoredNumbers",
    "TiffIndex",
    "find_fault",
    "picture_format",
    "pixel_format",
]
