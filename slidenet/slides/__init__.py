"""Floor 1: slides as pixels with a physical resolution."""

from slidenet.core.suffixes import FLAT_SUFFIXES, SLIDE_SUFFIXES
from slidenet.slides.fingerprint import fingerprint_file
from slidenet.slides.geometry import check_tile_settings, choose_level, plan_tiles
from slidenet.slides.opening import open_slide
from slidenet.slides.reader import Slide
from slidenet.slides.tiles import read_tile

__all__ = [
    "FLAT_SUFFIXES",
    "SLIDE_SUFFIXES",
    "Slide",
    "check_tile_settings",
    "choose_level",
    "fingerprint_file",
    "open_slide",
    "plan_tiles",
    "read_tile",
]
