"""From a segmenter that doubts to the line of the slide, the table and the end of the run."""

import csv

import numpy as np
import pytest
from PIL import Image

import slidenet
from slidenet.cli.main import main
from slidenet.core.errors import IdentityMismatchError
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.runner import work_on
from slidenet.pipelines.predict import PredictReport
from slidenet.stores import read_tile_set
from slidenet.testing.tissue_scenes import make_scene

GUEST = '''
from dataclasses import asdict, dataclass
from typing import ClassVar

from slidenet.tissue import Finding, Reason


@dataclass(frozen=True)
class Doubting:
    """Doubts what is red, and says so."""

    name: ClassVar[str] = "doubting"
    level: int = 200

    def find(self, slide):
        image = slide.thumbnail(128)
        reasons = (image.min(axis=2) >= self.level).astype("uint8")
        reasons[:16] = Reason.INK
        red = bool(image[64, 64, 0] > image[64, 64, 2])
        notes = ("red: is it <tissue>?",) if red else ()
        return Finding(reasons == Reason.TISSUE, reasons, 0.75 if red else 0.125, notes)

    def identity(self):
        return {"segmenter": self.name, **asdict(self)}
'''


class KilledAfterOne:
    """A runner that is interrupted after the first slide."""

    def run(self, work, rows, progress):
        yield work_on(rows[0], work, progress)
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three slides with a blue, a red and a blue square; the module of a segmenter."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "doubting_guest.py").write_text(GUEST)
    for slide_id, colour in (("a", (90, 60, 150)), ("b", (190, 60, 80)), ("c", (90, 60, 150))):
        picture = np.full((256, 256, 3), 240, np.uint8)
        picture[32:224, 32:224] = colour
        Image.fromarray(picture).save(folder / f"{slide_id}.png")
    return folder


def test_doubt_from_the_slide_to_the_end_of_the_run(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(cohort))
    slides = [cohort / f"{slide_id}.png" for slide_id in "abc"]
    given = {"mpp": 1.0, "target_mpp": 1.0, "tile_size_px": 64, "isolate": False,
             "drop_blank": False, "segmenter": "doubting_guest.Doubting",
             "segmenter_settings": {"level": 210}}  # fmt: skip

    def rows():
        with (tmp_path / "tissue.csv").open() as file:
            return [(row["slide_id"], row["doubt"]) for row in csv.DictReader(file)]

    with pytest.raises(KeyboardInterrupt):
        slidenet.preprocess(slides, tmp_path, runner=KilledAfterOne(), **given)
    assert rows() == [("a", "0.125")]
    with pytest.raises(IdentityMismatchError, match=r"--segmenter doubting_guest:Doubting"):
        slidenet.preprocess(slides, tmp_path, **{**given, "segmenter": None})
    report = slidenet.preprocess(slides, tmp_path, **given)
    assert rows() == [("b", "0.75"), ("a", "0.125"), ("c", "0.125")]
    first, second, _ = report.outcomes
    assert (first.status, first.detail) == ("already done", "16 tiles; doubt 0.12")
    assert "doubt 0.75; ink of a pen: 0.01 mm2 dropped; warning: red: is it" in second.detail
    assert (
        report.table()
        .splitlines()[-1]
        .startswith("1 slide to look at: b (doubt 0.75; red: is it <tissue>?); ")
    )
    assert read_tile_set(tmp_path / "tiles" / "b.h5").tissue_doubt == 0.75
    page = (tmp_path / "overlays" / "index.html").read_text()
    assert "red: is it &lt;tissue&gt;?" in page
    assert page.index('src="b.jpg"') < page.index('src="a.jpg"')
    before = (tmp_path / "tissue.csv").read_bytes()
    assert {o.status for o in slidenet.preprocess(slides, tmp_path, **given).outcomes} == {
        "already done"
    }
    assert (tmp_path / "tissue.csv").read_bytes() == before


def test_a_slide_without_tissue_is_the_first_to_look_at_until_it_has_tiles(tmp_path):
    for slide_id, colour in (("empty", 240), ("full", 120)):
        Image.new("RGB", (64, 64), (colour,) * 3).save(tmp_path / f"{slide_id}.png")
    slides, out = [tmp_path / "empty.png", tmp_path / "full.png"], tmp_path / "out"
    given = {"mpp": 1.0, "target_mpp": 1.0, "tile_size_px": 32, "isolate": False,
             "drop_blank": False}  # fmt: skip

    def run(chosen, segmenter):
        report = slidenet.preprocess(chosen, out, segmenter=segmenter, **given)
        with (out / "tissue.csv").open() as file:
            return report.exit_code, [
                (row["slide_id"], row["doubt"], row["tissue_um2"]) for row in csv.DictReader(file)
            ]

    run(slides[1:], "all")
    (out / "tissue" / "mine.json").write_text("{}")
    for _ in range(2):
        exit_code, rows = run(slides[:1], "otsu")
        assert exit_code == 1
        assert rows == [("empty", "1.0", "0.0"), ("full", "", "4096.0")]
    page = (out / "overlays" / "index.html").read_text()
    assert '<b>empty</b>: doubt 1.00<br><span class="warning">no tissue: ' in page
    assert Image.open(out / "overlays" / "empty.jpg").getpixel((9, 9)) == (240, 240, 240)
    assert run(slides[:1], "all") == (0, [("empty", "", "4096.0"), ("full", "", "4096.0")])
    before = (out / "tissue" / "empty.json").read_bytes()
    slidenet.preprocess(slides[:1], out, segmenter="otsu", overwrite=True, **given)
    assert (out / "tissue" / "empty.json").read_bytes() == before, "it is that of the tiles there"


def test_settings_of_segmenters_are_flags_and_refused_as_typed(cohort, tmp_path, capsys):
    flags = ["--slides", str(cohort / "a.png"), "--out", str(tmp_path / "out"), "--segmenter=otsu"]
    assert main(["preprocess", *flags, "--closing-um=3"]) == 2
    error = capsys.readouterr().err
    assert "--closing-um is 3.0, and the segmenter 'otsu' has no such setting" in error
    assert "--min-contrast" in error
    assert main(["preprocess", *flags, "--segmenter-settings={width: 3}"]) == 2
    assert "the segmenter 'otsu' has no setting 'width'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    flags += ["--mpp=1", "--target-mpp=1", "--tile-size-px=64", "--no-isolate"]
    assert main(["preprocess", *flags, "--min-contrast=200"]) == 1
    assert "expected at least 200, the --min-contrast. To fix: " in capsys.readouterr().out
    assert main(["preprocess", *flags, "--min-contrast=20"]) == 0


def test_predictions_come_with_the_slides_to_look_at(tmp_path):
    tiles = RunReport("preprocess", {}, "", 0.0, [], notes=("1 slide to look at: b",))
    report = PredictReport(None, [tiles, RunReport("predict", {}, "", 0.0, [])], tmp_path)
    assert "\n1 slide to look at: b\n" in report.table()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faint18", "mucin", "ihc", "fat"])
def test_pale_tissue_that_is_found_becomes_tiles(tmp_path, kind):
    scene = make_scene(kind, 5)
    Image.fromarray(scene.image).save(tmp_path / "pale.png")
    given = {"mpp": 8.0, "target_mpp": 8.0, "tile_size_px": 16, "isolate": False}
    report = slidenet.preprocess([tmp_path / "pale.png"], tmp_path / "out", **given)
    assert report.exit_code == 0
    tiles = read_tile_set(tmp_path / "out" / "tiles" / "pale.h5")
    kept = np.zeros(scene.truth.shape, np.bool_)
    for x, y in tiles.coords.tolist():
        kept[y : y + 16, x : x + 16] = True
    assert kept[scene.truth & ~scene.ignore].mean() > 0.9
