"""Tiles of TIFF slides, decoded by slidenet itself to the very pixels of openslide."""

from slidenet.slides.readers.tiled.reader import TiledReader

__all__ = ["TiledReader"]
