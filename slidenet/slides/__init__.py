"""Floor 1: slides as pixels with a physical resolution."""

from slidenet.slides.admission import SCANNER_FORMATS
from slidenet.slides.fingerprint import check_sha256, fingerprint_file
from slidenet.slides.geometry import (
    check_reading,
    check_tile_settings,
    choose_level,
    plan_tiles,
)
from slidenet.slides.illumination import (
    FLUORESCENCE,
    Illumination,
    illumination_of,
    judge_picture,
)
from slidenet.slides.opening import READERS, SLIDE_SUFFIXES, open_slide
from slidenet.slides.protocol import Slide
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.resolution import resolution_notes
from slidenet.slides.thumbnail import damage_note, lost_share, mark_places
from slidenet.slides.tiles import TilePixels, none_readable, read_tile, read_tiles

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "FLUORESCENCE",
    "Illumination",
    "READERS",
    "SCANNER_FORMATS",
    "SLIDE_SUFFIXES",
    "Slide",
    "SlideReader",
    "TilePixels",
    "check_reading",
    "check_sha256",
    "check_tile_settings",
    "choose_level",
    "damage_note",
    "fingerprint_file",
    "illumination_of",
    "judge_picture",
    "lost_share",
    "mark_places",
    "none_readable",
    "open_slide",
    "plan_tiles",
    "read_tile",
    "read_tiles",
    "resolution_notes",
]
