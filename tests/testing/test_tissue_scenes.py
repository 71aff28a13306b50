import csv
import sys
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

from slidenet.testing.tissue_scenes import KINDS, Marks, Scene, make_scene, score
from slidenet.testing.tissue_scenes.ink import write
from slidenet.testing.tissue_scenes.scanner import left_out
from slidenet.testing.tissue_scenes.scene import Canvas
from slidenet.testing.tissue_scenes.tissue import add_section

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"
DARK_GROUND = ("dapi", "fluorescence", "fluorescence60")
NO_TISSUE = ("empty", "pen_alone")


def scene_of(truth, ignore=None):
    truth = np.array(truth, bool)
    ignore = np.zeros_like(truth) if ignore is None else np.array(ignore, bool)
    return Scene("by hand", 0, np.zeros((*truth.shape, 3), np.uint8), 8.0, truth, ignore)


def canvas(shape=(64, 80)):
    return Canvas(np.random.default_rng(3), shape, "a")


def test_marks_are_shares_of_counted_pixels():
    scene = scene_of([[1, 1, 1, 0, 0, 1]], [[0, 0, 0, 0, 0, 1]])
    found = np.array([[0, 1, 1, 1, 0, 0]], bool)
    assert score(found, scene) == pytest.approx(Marks(iou=2 / 4, missed=1 / 3, taken=1 / 3))


def test_nothing_found_on_bare_glass_is_right_and_anything_is_wrong():
    bare = scene_of(np.zeros((2, 3)))
    nothing, one = np.zeros((2, 3), bool), np.eye(2, 3, dtype=bool)
    assert score(nothing, bare) == Marks(1, 0, 0)
    assert score(one, bare) == Marks(0, 0, 1)
    assert score(nothing, scene_of(one)) == Marks(0, 1, 0)


def test_small_holes_are_tissue_and_crumbs_and_doubtful_sizes_do_not_count():
    paper = canvas()
    paper.truth[4:60, 4:50] = True
    paper.truth[8:18, 8:18] = False  # 100 px: filled
    paper.truth[22:38, 8:24] = False  # 256 px, near the 250 that are filled: counts neither way
    paper.truth[8:40, 30:46] = False  # 512 px: a hole
    paper.truth[4:9, 60:65] = True  # 25 px: a crumb
    paper.settle_truth()
    assert paper.truth[8:18, 8:18].all()
    assert not paper.ignore[8:18, 8:18].any()
    assert paper.ignore[22:38, 8:24].all()
    assert not (paper.truth | paper.ignore)[8:40, 30:46].any()
    assert paper.ignore[4:9, 60:65].all()
    assert not paper.truth[:, 55:].any()
    assert paper.ignore.sum() == 256 + 25


def test_ink_on_tissue_does_not_count_and_ink_on_glass_is_no_tissue():
    paper = canvas()
    paper.truth[:, :40] = True
    strokes = np.zeros(paper.shape, bool)
    strokes[30:34] = True
    write(paper, strokes, "green")
    assert paper.ignore[31:33, :40].all()
    assert not paper.ignore[:, 40:].any()
    assert not paper.truth[:, 40:].any()
    red, green, blue = paper.density[32, 60]
    assert red > green  # a green pen takes red away
    assert blue > green


def test_what_was_not_scanned_is_no_tissue_and_its_seams_do_not_count():
    paper = canvas()
    paper.truth[:] = True
    places = np.zeros(paper.shape, bool)
    places[:20], places[:, 50] = True, True
    image = left_out(paper, np.full((*paper.shape, 3), 200, np.uint8), places, 0)
    assert (image[places] == 0).all()
    assert (image[~places] == 200).all()
    assert not paper.truth[:20].any()
    assert paper.truth[22:].all()
    assert paper.ignore[21:, 50].all()
    assert not paper.ignore[22:, :48].any()


def test_the_same_arguments_give_the_same_pixels():
    first, again = make_scene("empty", 4), make_scene("empty", 4)
    assert (first.image == again.image).all()
    assert first.image.shape == (704, 896, 3)
    assert first.image.dtype == np.uint8
    assert not first.truth.any()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kind"), list(enumerate(KINDS)), ids=list(KINDS))
def test_every_kind_has_tissue_that_differs_from_its_ground(number, kind):
    scene = make_scene(kind, seed=1, texture="abc"[number % 3])
    assert scene.image.shape == (896, 704, 3)
    assert scene.truth.shape == scene.ignore.shape == scene.image.shape[:2]
    assert scene.ignore.mean() < 0.15
    assert scene.truth.any() == (kind not in NO_TISSUE)
    grey = scene.image.mean(axis=2)
    grown = cv2.dilate((scene.truth | scene.ignore).astype(np.uint8), np.ones((15, 15)))
    ground = (grown == 0) & (scene.image.max(axis=2) > 20 * (kind not in DARK_GROUND))
    if scene.truth.any() and ground.any():
        difference = float(np.median(grey[ground]) - np.median(grey[scene.truth]))
        assert (difference < -3) if kind in DARK_GROUND else (difference > 3)


@pytest.mark.parametrize("family", ["a", "b", "c"])
def test_contrast_scales_the_mean_optical_density(family):
    means = []
    for contrast in (1.0, 0.18):
        paper = Canvas(np.random.default_rng(8), (128, 160), family)
        add_section(paper, np.ones(paper.shape, bool), contrast)
        means.append(paper.density[paper.truth].mean())
    assert 0.36 <= means[0] <= 0.62
    assert means[1] / means[0] == pytest.approx(0.18, rel=1e-4)


@pytest.mark.slow
def test_the_benchmark_marks_every_segmenter_and_draws_it(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    wanted = "--kinds empty --seeds 1001 --texture a --segmenters saturation otsu"
    files = ["--real", "", "--overlays", str(tmp_path), "--csv", str(tmp_path / "marks.csv")]
    monkeypatch.setattr(sys, "argv", ["bench_tissue.py", *wanted.split(), *files])
    import_module("bench_tissue").main()
    table = capsys.readouterr().out
    assert "| empty | 1.00, 0.00, 0.00 |" in table
    assert "otsu: 1.0 times otsu's time" in table
    with (tmp_path / "marks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["segmenter"] for row in rows] == ["saturation", "otsu"]
    for name, height in (("empty", 304), ("all_kinds", 174)):
        assert cv2.imread(str(tmp_path / f"{name}.jpg")).shape[0] == height
