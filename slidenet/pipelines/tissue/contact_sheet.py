"""`overlays/index.html`: the overlays of a cohort on one page, the most doubtful slide first.

One file without scripts and without anything from elsewhere; pictures are those beside it, loaded
when they come into view.
"""

from collections.abc import Sequence
from urllib.parse import quote

from slidenet.core.errors import OutputError
from slidenet.core.escapes import in_html
from slidenet.core.text import count_of
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.tissue.record import LEAST_MM2, TissueRecord
from slidenet.pipelines.tissue.table import (
    NOT_DESCRIBED,
    records_of_folder,
    state_of_folder,
    write_tissue_table,
)
from slidenet.stores.atomic import atomic_path
from slidenet.tissue import Reason

_MOST_TRIES = 20
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #1b1f2a; background: #f4f5f7; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 18px; }
figure { margin: 0; padding: 10px; background: #fff; border: 1px solid #d5d9e0; }
figure.look { border: 3px solid #c4380d; padding: 8px; }
figure img { display: block; width: 100%; height: 260px; object-fit: contain; background: #fff; }
figcaption { margin-top: 8px; overflow-wrap: anywhere; }
.warning { color: #a32d08; } .areas { color: #555c6b; }
"""


def describe_tissue(layout: OutputLayout) -> tuple[list[TissueRecord], list[str]]:
    """Writes `tissue.csv` and the page of an output folder, from the files of its slides.

    A folder whose slides are all of an earlier version stays as it is. Where a file cannot be
    written (a spreadsheet holds it, another process writes it), that is a note: the work on the
    slides is done, and the next run writes it.

    Returns:
        What was found on every slide, the most doubtful first; notes.
    """
    for _ in range(_MOST_TRIES):
        described = state_of_folder(layout)
        records, notes = records_of_folder(layout), list[str]()
        if not any(record.is_described for record in records):
            break
        for write in (write_tissue_table, write_contact_sheet):
            try:
                write(layout, records)
            except OutputError as error:
                notes.append(f"warning: {error}")
        # The last of several processes to write them must have seen what all of them made.
        if state_of_folder(layout) == described:
            break
    return records, notes


def write_contact_sheet(layout: OutputLayout, records: Sequence[TissueRecord]) -> None:
    """Writes the page, one picture per slide in the order of `records`.

    Raises:
        OutputError: The file cannot be written.
    """
    look = sum(record.is_doubtful for record in records)
    title = f"Tissue of {count_of('slide', len(records))}, {look} to look at"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{in_html(title)}</title><style>{_STYLE}</style></head>",
        f"<body><h1>{in_html(title)}</h1>",
        "<p>The most doubtful first. Doubt is from 0 (sure) to 1. Areas are in ../tissue.csv, "
        "outlines for QuPath in ../tissue.</p>",
        "<main>",
        *(_figure(layout, record) for record in records),
        "</main></body></html>",
    ]
    with atomic_path(layout.contact_sheet) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _figure(layout: OutputLayout, record: TissueRecord) -> str:
    picture = quote(layout.overlay(record.slide_id).name)
    name = in_html(record.slide_id)
    doubt = "no doubt known" if record.doubt is None else f"doubt {record.doubt:.2f}"
    areas = [
        f"{reason.words} {area / 1e6:.2f} mm2"
        for reason, area in record.areas_um2.items()
        if reason is Reason.TISSUE or (reason is not Reason.GROUND and area / 1e6 >= LEAST_MM2)
    ]
    notes = record.notes if record.is_described else (NOT_DESCRIBED,)
    shown = "".join(f'<br><span class="warning">{in_html(note)}</span>' for note in notes)
    look = ' class="look"' if record.is_doubtful else ""
    return (
        f"<figure{look}>"
        f'<a href="{picture}"><img src="{picture}" loading="lazy" alt="overlay of {name}"></a>'
        f"<figcaption><b>{name}</b>: {doubt}{shown}"
        f'<br><span class="areas">{in_html(", ".join(areas))}</span></figcaption></figure>'
    )
