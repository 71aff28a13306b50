"""The index of TIFF files: which images a file holds, where they lie, and whether that can be."""

from slidenet.slides.tiff.directory import Directory, StoredNumbers
from slidenet.slides.tiff.index import TiffIndex
from slidenet.slides.tiff.ome import OmeImage
from slidenet.slides.tiff.picture import Picture

__all__ = ["Directory", "OmeImage", "Picture", "StoredNumbers", "TiffIndex"]
