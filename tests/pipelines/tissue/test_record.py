"""What was found on slides, kept and shown: JSON, table, page."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.tissue.contact_sheet import describe_tissue, write_contact_sheet
from slidenet.pipelines.tissue.record import MOST_REGIONS, TissueRecord, look_at
from slidenet.pipelines.tissue.table import records_of_folder, write_tissue_table
from slidenet.stores import write_tile_set
from slidenet.tissue import Finding, Reason, Tissue
from slidenet.tissue.tissue import tissue_on

EVIL = '<script>alert("x")</script>'
GEOMETRY = TileGeometry(SlideMpp(0.5, "override"), 0.5, 0.5, 0, 256, 256, 256, 800, 400)


class FakeSlide:
    """As much of a slide as a record asks for."""

    level_dimensions = ((800, 400),)
    slide_mpp = SlideMpp(0.5, "override")


def found(codes, **more):
    reasons = np.array(codes, np.uint8)
    finding = Finding(reasons == Reason.TISSUE, reasons, **more)
    return tissue_on(FakeSlide(), finding.mask, {"segmenter": "guest"}, finding)


def test_a_record_says_what_was_found_and_survives_its_file(tmp_path):
    tissue = found([[0, 0, 1, 2], [0, 1, 2, 2]], doubt=0.7, notes=("dark ground: fluorescence?",))
    record = TissueRecord.of(tissue, FakeSlide(), "one")
    pixel = 200 * 200 * 0.25
    assert record.areas_um2 == {
        Reason.TISSUE: 3 * pixel, Reason.GROUND: 2 * pixel, Reason.INK: 3 * pixel,
    }  # fmt: skip
    assert record.num_dropped == 1
    assert record.dropped == ({"reason": "ink", "area_um2": 3 * pixel, "box": [400, 0, 800, 400]},)
    assert record.summary() == (
        "doubt 0.70; ink of a pen: 0.03 mm2 dropped; warning: dark ground: fluorescence?"
    )
    record.write(tmp_path / "one.json")
    assert TissueRecord.read(tmp_path / "one.json") == record


def test_drawn_tissue_has_no_doubt():
    tissue = Tissue(np.ones((1, 2), np.bool_), (400.0, 400.0), {"segmenter": "geojson"})
    record = TissueRecord.of(tissue, FakeSlide(), "drawn")
    assert (record.doubt, record.summary(), record.is_doubtful) == (None, "", False)
    assert record.areas_um2 == {Reason.TISSUE: 80_000.0}
    tissue = replace(found([[0, 1]], notes=("dark",)), notes=("3 points skipped",))
    record = TissueRecord.of(tissue, FakeSlide(), "both")
    assert record.notes == ("dark", "3 points skipped")


def test_the_list_of_regions_is_bounded_and_their_number_is_true():
    codes = np.ones((40, 80), np.uint8)
    codes[::2, ::2] = Reason.TOO_SMALL
    codes[1, 1] = Reason.TISSUE
    record = TissueRecord.of(found(codes), FakeSlide(), "dusty")
    assert (record.num_dropped, len(record.dropped)) == (800, MOST_REGIONS)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"format": "x"}', "[" * 10_000, '{"format": "slidenet.tissue"}']
)
def test_a_broken_file_is_one_error(tmp_path, content):
    path = tmp_path / "one.json"
    path.write_text(content)
    with pytest.raises(StoreError, match="does not say what was found"):
        TissueRecord.read(path)


@pytest.fixture
def folder(tmp_path):
    """Four slides: sure, doubtful, without doubt, and one of an earlier version; a stray JSON."""
    layout = OutputLayout(tmp_path / "out")
    areas = {Reason.TISSUE: 2e6, Reason.INK: 1e6}
    for record in (
        TissueRecord("sure", "guest", 0.1, (), areas, 1),
        TissueRecord(f"bad {EVIL}".replace("/", ""), "guest", 0.9, (EVIL,), areas, 2),
        TissueRecord("unsaid", "otsu", None, (), areas),
        TissueRecord("old"),
    ):
        tiles = TileSet(record.slide_id, "x.svs", "f", GEOMETRY, np.zeros((1, 2), np.int64),
                        np.ones(1, np.float32), {})  # fmt: skip
        write_tile_set(layout.tiles(record.slide_id), tiles)
        if record.is_described:
            record.write(layout.tissue_record(record.slide_id))
    layout.tissue_record("stray").write_text("{}")
    return layout


def test_the_table_lists_every_slide_with_tiles_by_doubt(folder):
    records = records_of_folder(folder)
    write_tissue_table(folder, records)
    with folder.tissue_table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slide_id"][:6] for row in rows] == ["bad <s", "sure", "old", "unsaid"]
    assert [row["doubt"] for row in rows] == ["0.9", "0.1", "", ""]
    assert [row["ink_um2"] for row in rows] == ["1000000.0", "1000000.0", "", "1000000.0"]
    assert rows[2]["notes"].startswith("what was found is not described")
    assert look_at(records).startswith("1 slide to look at: bad <script>")
    assert look_at(records[1:]) == ""


def test_areas_that_are_not_known_are_empty_and_not_zero(folder):
    drawn = TissueRecord("drawn", "geojson", None, (), {Reason.TISSUE: 2e6})
    full = TissueRecord("full", "otsu", None, (), {Reason.TISSUE: 2e6, Reason.GROUND: 0.0})
    write_tissue_table(folder, [drawn, full])
    with folder.tissue_table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["tissue_um2"] for row in rows] == ["2000000.0", "2000000.0"]
    assert [row["ground_um2"] for row in rows] == ["", "0.0"]
    assert [row["ink_um2"] for row in rows] == ["", "0"]
    assert [row["num_dropped"] for row in rows] == ["", "0"]


def test_areas_too_small_for_two_digits_are_not_on_the_page(folder):
    areas = {Reason.TISSUE: 2e6, Reason.GROUND: 0.0, Reason.INK: 4e3, Reason.DEBRIS: 6e3}
    write_contact_sheet(folder, [TissueRecord("a", "guest", 0.1, (), areas, 2)])
    page = folder.contact_sheet.read_text()
    assert "tissue 2.00 mm2, dust, bubble or cover-slip edge 0.01 mm2" in page
    assert "0.00 mm2" not in page


def test_a_table_that_cannot_be_written_is_a_note_and_not_the_end(folder):
    folder.tissue_table.mkdir()  # as good as a file that a spreadsheet holds open
    records, notes = describe_tissue(folder)
    assert len(records) == 4
    assert len(notes) == 1
    assert re.match(r"warning: .*tissue\.csv cannot be written", notes[0])
    assert folder.contact_sheet.is_file()


def test_a_folder_of_an_earlier_version_stays_as_it_is(folder):
    for slide_id in ("sure", "unsaid", 'bad <script>alert("x")<script>'):
        folder.tissue_record(slide_id).unlink()
    records, notes = describe_tissue(folder)
    assert [record.is_described for record in records] == [False] * 4
    assert notes == []
    assert not folder.tissue_table.exists()
    assert not folder.contact_sheet.exists()


def test_the_page_shows_every_slide_and_escapes_what_it_shows(folder):
    write_contact_sheet(folder, records_of_folder(folder))
    page = folder.contact_sheet.read_text()
    assert page.count("<figure") == 4
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5, "twice the name, which has two, and once the note"
    assert '<img src="bad%20%3Cscript%3Ealert%28%22x%22%29%3Cscript%3E.jpg"' in page
    assert page.index("bad%20") < page.index("sure.jpg") < page.index("unsaid.jpg")
    assert "http" not in page
