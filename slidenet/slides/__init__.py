"""Floor 1: slides as pixels with a physical resolution."""

from slidenet.slides.fingerprint import fingerprint_file
from slidenet.slides.geometry import (
    check_reading,
    check_tile_settings,
    choose_level,
    plan_tiles,
)
from slidenet.slides.opening import READERS, SLIDE_SUFFIXES, open_slide
from slidenet.slides.protocol import Slide
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.tiles import TilePixels, read_tile, read_tiles

__all__ = [
    "READERS",
    "SLIDE_SUFFIXES",
    "Slide",
    "SlideReader",
    "TilePixels",
    "check_reading",
    "check_tile_settings",
    "choose_level",
    "fingerprint_file",
    "open_slide",
    "plan_tiles",
    "read_tile",
    "read_tiles",
]
