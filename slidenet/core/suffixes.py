"""File endings of slides: what a folder is searched for."""

OPENSLIDE_SUFFIXES = (
    ".bif",
    ".czi",
    ".dcm",
    ".mrxs",
    ".ndpi",
    ".scn",
    ".svs",
    ".svslide",
    ".tif",
    ".tiff",
    ".vms",
    ".vmu",
)
"""Formats read through openslide 4."""

FLAT_SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Formats read as one flat image where openslide does not know the file."""

SLIDE_SUFFIXES = tuple(sorted({*OPENSLIDE_SUFFIXES, *FLAT_SUFFIXES}))
"""What a folder of slides is searched for, lower case. The content decides how a file is read."""
