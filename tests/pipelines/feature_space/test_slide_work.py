import json

import pytest

from slidenet.core.errors import StoreError
from slidenet.pipelines.cohort.layout import FeatureMapsLayout
from slidenet.pipelines.feature_space.slide_work import is_done

IDENTITY = {"space": "a", "features": "b"}


@pytest.fixture
def paths(tmp_path):
    paths = FeatureMapsLayout(tmp_path)
    for path in (paths.record("s"), paths.table("s")):
        path.parent.mkdir()
    paths.table("s").write_text("tile\n")
    return paths


def write(paths, **record):
    paths.record("s").write_text(json.dumps({"identity": IDENTITY, "looked_at": "", **record}))


def test_a_slide_is_drawn_again_where_it_can_be_shown_now(paths):
    assert not is_done(paths, "s", IDENTITY, "")
    write(paths, shown=False)
    assert is_done(paths, "s", IDENTITY, "")
    assert not is_done(paths, "s", IDENTITY, "s.svs")
    write(paths, shown=False, looked_at="s.svs")
    assert is_done(paths, "s", IDENTITY, "s.svs"), "it was tried"
    write(paths, shown=True, looked_at="s.svs")
    assert is_done(paths, "s", IDENTITY, ""), "no picture is replaced by one without the slide"
    assert is_done(paths, "s", IDENTITY, "elsewhere/s.svs")
    assert not is_done(paths, "s", {**IDENTITY, "features": "c"}, "s.svs")
    paths.table("s").unlink()
    assert not is_done(paths, "s", IDENTITY, "s.svs")


def test_a_damaged_record_is_named_with_what_to_do(paths):
    paths.record("s").write_text("{")
    with pytest.raises(StoreError, match=r"s\.json is damaged.*delete it, or pass --overwrite"):
        is_done(paths, "s", IDENTITY, "")
