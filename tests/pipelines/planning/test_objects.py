"""Plans of slides on a web server: what is asked of it, and what is fetched."""

import functools
import http.server
import threading

import pytest

from slidenet.core.records import SlideRow
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.planning.storage import measure_fetching
from slidenet.pipelines.planning.survey import survey, workable
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.testing import write_synthetic_slide


@pytest.fixture
def server(tmp_path):
    """Three small slides and their address; the server knows no ranges."""
    folder = tmp_path / "served"
    folder.mkdir()
    for number in range(3):
        side = 256 * (number + 1)
        write_synthetic_slide(folder / f"s{number}.tiff", side, side, 0.5, seed=number)
    handler = functools.partial(_Silent, directory=str(folder))
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield folder, f"http://127.0.0.1:{found.server_address[1]}"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_sizes_are_asked_and_only_drawn_slides_are_fetched(server, tmp_path):
    folder, address = server
    rows = [SlideRow(name, f"{address}/{name}.tiff") for name in ("s0", "s1", "s2", "gone")]
    fleet = FleetSettings(progress="none", cache=tmp_path / "cache")
    settings = PreprocessSettings(tile_size_px=64, isolate=False)
    found = survey(rows, Tiler.of(settings), fleet, most_fetched=2)
    sizes = [(folder / f"s{number}.tiff").stat().st_size for number in range(3)]
    assert list(found.num_bytes) == [*sizes, 0]
    assert (found.num_opened, found.in_stores) == (2, 4)
    (gone,) = found.failing
    assert (gone.slide_id, gone.problem) == ("gone", "cannot be had from their store")
    cohort = workable(found)
    assert [row.slide_id for row in cohort.rows] == ["s0", "s1", "s2"]
    assert cohort.fetched.all()
    for place in cohort.at_hand:
        assert cohort.lattice[place] == (4 * (place + 1)) ** 2
    uris = [row.slide_path for row in rows[:3]]
    came = measure_fetching(uris, tmp_path, seconds=20.0)
    assert came.num_bytes == sum(sizes)
    assert not list(tmp_path.glob("fetched-*"))
