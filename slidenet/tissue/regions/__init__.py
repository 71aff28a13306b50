"""Regions that people draw: read from their files, placed on the slide, written for QuPath."""

from slidenet.tissue.regions.chosen import ChosenRegions, drawn_regions
from slidenet.tissue.regions.classes import belongs_to
from slidenet.tissue.regions.drawn import DRAWN, drawn_tissue
from slidenet.tissue.regions.drawn_out import DrawnOut, drawn_out, take_off
from slidenet.tissue.regions.frames import qupath_bounds, qupath_origin
from slidenet.tissue.regions.places import find_region_file
from slidenet.tissue.regions.reading import read_regions
from slidenet.tissue.regions.records import FRAMES, Frame, Region, RegionSet
from slidenet.tissue.regions.writing import write_geojson

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "ChosenRegions",
    "DRAWN",
    "DrawnOut",
    "FRAMES",
    "Frame",
    "Region",
    "RegionSet",
    "belongs_to",
    "drawn_out",
    "drawn_regions",
    "drawn_tissue",
    "find_region_file",
    "qupath_bounds",
    "qupath_origin",
    "read_regions",
    "take_off",
    "write_geojson",
]
