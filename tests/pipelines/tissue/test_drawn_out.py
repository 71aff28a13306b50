"""Areas drawn out, from their files to tiles, records, overlays and the words of a run."""

import json

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box, mapping

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.inspection.info import info
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.stores import read_tile_set

ASKED = {"tile_size_px": 32, "segmenter": "all", "isolate": False}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two slides of 512 x 512 px that are tissue all over."""
    folder = tmp_path_factory.mktemp("slides")
    pixels = np.random.default_rng(0).integers(90, 200, (512, 512, 3), dtype=np.uint8)
    for name in "ab":
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return [SlideRow(name, str(folder / f"{name}.png"), mpp=0.5) for name in "ab"]


@pytest.fixture
def drawn(tmp_path):
    """Draws a box out on slide a; the folder."""
    folder = tmp_path / "out_of_it"
    folder.mkdir()

    def write(*bounds, classification="Ignore*", name="a.png.geojson"):
        properties = {"classification": classification}
        document = {"type": "Feature", "geometry": mapping(box(*bounds)), "properties": properties}
        (folder / name).write_text(json.dumps(document))
        return folder

    return write


def run(rows, layout, overwrite=False, **settings):
    asked = PreprocessSettings(**ASKED | settings)
    report = preprocess(rows, layout.root, asked, overwrite=overwrite)
    return report, [(outcome.status, outcome.detail) for outcome in report.outcomes]


def test_what_is_drawn_out_has_no_tiles_is_counted_and_seen(rows, layout, drawn):
    folder = drawn(0, 0, 256, 128)
    report, outcomes = run(rows, layout, exclude_regions=folder)
    assert "excluded by hand: 0.01 mm2 dropped" in outcomes[0][1]
    first, second = (read_tile_set(layout.tiles(name)) for name in "ab")
    assert (first.num_tiles, second.num_tiles) == (256 - 32, 256)
    assert not ((first.coords < (256, 128)).all(axis=1)).any()
    record = json.loads(layout.tissue_record("a").read_text())
    assert record["areas_um2"]["excluded"] == 256 * 128 * 0.25
    assert record["dropped"] == [
        {"reason": "excluded", "area_um2": 8192.0, "box": [0, 0, 256, 128]}
    ]
    picture = np.asarray(Image.open(layout.overlay("a"))).astype(int)
    inside, outside = picture[64:120, 10:240].mean((0, 1)), picture[140:250, 10:240].mean((0, 1))
    assert (inside - outside)[0] - (inside - outside)[2] > 40, "tinted red"
    assert report.notes[-1] == "--exclude-regions holds a file for 1 of 2 slides"
    shown = dict(info(rows[0].slide_path, mpp=0.5, exclude_regions=folder, **ASKED).rows)
    assert shown["found"] == "excluded by hand: 0.01 mm2 dropped"


@pytest.mark.slow
def test_only_the_slides_that_are_drawn_on_are_made_anew(rows, layout, drawn):
    run(rows, layout)
    folder = drawn(0, 0, 256, 128)
    _, outcomes = run(rows, layout, exclude_regions=folder)
    assert [status for status, _ in outcomes] == ["failed", "already done"]
    assert "tissue.inputs.drawn_out: None -> " in outcomes[0][1]
    _, outcomes = run(rows[:1], layout, overwrite=True, exclude_regions=folder)
    assert run(rows, layout, exclude_regions=folder)[1][0][0] == "already done"
    _, outcomes = run(rows, layout, exclude_regions=drawn(0, 0, 256, 129))
    assert [status for status, _ in outcomes] == ["failed", "already done"]


@pytest.mark.slow
def test_what_has_no_effect_or_no_tissue_left_is_said(rows, layout, drawn):
    folder = drawn(0, 0, 9, 9, classification="Fold")
    drawn(0, 0, 9, 9, name="elsewhere.geojson")
    report, outcomes = run(rows, layout, exclude_regions=folder)
    assert "warning: nothing in a.png.geojson excludes (its classes: 'Fold')" in outcomes[0][1]
    assert "1 file of --exclude-regions without a slide of this run: elsewhere" in report.notes[-1]
    (folder / "a.png.geojson").unlink()
    report, _ = run(rows, layout, exclude_regions=folder)
    assert report.notes[-2].startswith(
        "warning: --exclude-regions holds a file for 0 of 2 slides; expected names: {slide_id} or"
    )
    whole = drawn(0, 0, 512, 512)
    _, outcomes = run(rows[:1], layout, overwrite=True, exclude_regions=whole)
    assert outcomes[0] == (
        "failed",
        "slide 'a': all tissue is drawn out (1 region of a.png.geojson); expected some tissue that "
        "is left. To fix: correct what is drawn (--exclude-regions, --exclude-classes), or leave "
        "the slide out",
    )


def test_settings_that_contradict_each_other(rows, layout, tmp_path):
    with pytest.raises(ConfigError, match=r"exclude_regions is .*, which is no folder"):
        run(rows, layout, exclude_regions=tmp_path / "nowhere")
    tissue = layout.tissue("a").parent
    tissue.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"--exclude-regions .* is where the tissue of this outp"):
        run(rows, layout, exclude_regions=tissue)
