"""`tissue.csv`: what was found on every slide of an output folder, the most doubtful first."""

import os
from collections.abc import Sequence
from contextlib import suppress

from slidenet.core.errors import StoreError
from slidenet.pipelines.begun.origins import tile_files
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.objects.outputs import output_of
from slidenet.pipelines.tissue.record import TissueRecord
from slidenet.stores.csv_writing import write_csv
from slidenet.tissue import Reason

NOT_DESCRIBED = "what was found is not described: made by an earlier version, or the file is lost"


def records_of_folder(layout: OutputLayout) -> list[TissueRecord]:
    """What was found on every slide that has tiles or no tissue, the most doubtful first.

    By doubt, then warnings; those of whose tissue no doubt is known come last. They are read from
    the files of the slides, so that they are complete after kills, resumes and runs by several
    processes.
    """
    records = []
    with_tiles, output = tile_files(layout), output_of(layout.root)
    if output is not None:
        here = {tiles.stem for tiles in with_tiles}
        with_tiles += [layout.tiles(one) for one in sorted(output.slides_with_tiles(layout) - here)]
    names = {tiles.stem for tiles in with_tiles}
    for path in layout.tissue_record("x").parent.glob("*.json"):
        if path.stem not in names:
            with suppress(StoreError):  # a file of others
                record = TissueRecord.read(path)
                # Else its tiles were removed, or were not yet written when the run was killed.
                records += [record] if record.found_nothing else []
    for tiles in with_tiles:
        try:
            records.append(TissueRecord.read(layout.tissue_record(tiles.stem)))
        except StoreError:
            records.append(TissueRecord(tiles.stem))
    records.sort(key=lambda r: (1 if r.doubt is None else -r.doubt, not r.notes, r.slide_id))
    return records


def state_of_folder(layout: OutputLayout) -> set[tuple[str, int]]:
    """The files that `records_of_folder` goes by, and when they were written."""
    found = set()
    for folder in (layout.tiles("x").parent, layout.tissue_record("x").parent):
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        found.add((entry.path, entry.stat().st_mtime_ns))
    return found


def write_tissue_table(layout: OutputLayout, records: Sequence[TissueRecord]) -> None:
    """Writes `tissue.csv`, one row per slide in the order of `records`.

    Raises:
        OutputError: The file cannot be written.
    """
    areas = [f"{reason.name.lower()}_um2" for reason in Reason]
    header = ["slide_id", "doubt", "segmenter", *areas, "num_dropped", "notes"]
    rows = [
        [
            record.slide_id,
            "" if record.doubt is None else record.doubt,
            record.segmenter or "",
            *(_area(record, reason) for reason in Reason),
            record.num_dropped if record.knows_reasons else "",
            "; ".join(record.notes) if record.is_described else NOT_DESCRIBED,
        ]
        for record in records
    ]
    write_csv(layout.tissue_table, header, rows)


def _area(record: TissueRecord, reason: Reason) -> float | str:
    """Square microns; nothing where they are not known: 0 would say that there is no glass."""
    unknown = 0 if record.knows_reasons else ""
    return record.areas_um2.get(reason, unknown)
