"""Pages that work without a network: parts, pictures inside the file, a strict policy."""

from slidenet.visualisation.html.markup import Child, Html, element, joined
from slidenet.visualisation.html.page import Section, page
from slidenet.visualisation.html.parts import (
    Column,
    Tone,
    badge,
    details,
    facts,
    figure,
    gallery,
    lines_of,
    listing,
    missing,
    note,
    paragraph,
    table,
)
from slidenet.visualisation.html.pictures import (
    Picture,
    picture_of_array,
    picture_of_figure,
    picture_of_file,
)

__all__ = [
    "Child",
    "Column",
    "Html",
    "Picture",
    "Section",
    "Tone",
    "badge",
    "details",
    "element",
    "facts",
    "figure",
    "gallery",
    "joined",
    "lines_of",
    "listing",
    "missing",
    "note",
    "page",
    "paragraph",
    "picture_of_array",
    "picture_of_figure",
    "picture_of_file",
    "table",
]
