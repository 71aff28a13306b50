"""Segmenters that return nonsense: each is one line that names the segmenter, the slide and the
cause."""

import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, EmptyTissueError, PluginError
from slidenet.slides import open_slide
from slidenet.testing import corrupt_tile
from slidenet.testing.layouts import write_layout
from slidenet.tissue import Finding, Reason, find_tissue, make_segmenter

WIDE = np.zeros((60, 80), np.bool_)
WIDE[10:30, 20:50] = True
REASONS = np.where(WIDE, Reason.TISSUE, Reason.GROUND).astype(np.uint8)


@dataclass(frozen=True)
class Returns:
    """A segmenter that returns what it is given."""

    name: ClassVar[str] = "guest"
    found: Any = field(default=None, compare=False)

    def find(self, slide):
        return self.found

    def identity(self):
        return {"segmenter": self.name}


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    pixels = np.full((600, 800, 3), 240, np.uint8)
    path = write_layout(tmp_path_factory.mktemp("slide") / "wide.tif", [pixels], tile_px=128)
    with open_slide(path, mpp=1.0) as opened:
        yield opened


def with_nan():
    values = np.where(WIDE, 1.0, 0.0).astype(np.float32)
    values[3, 3] = np.nan
    return values


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "the mask is a NoneType; expected a NumPy array bool"),
        ([[True, False]], "the mask is a list"),
        (WIDE.astype(np.uint8), r"the mask is uint8 of shape \(60, 80\); .*To fix: .*threshold"),
        (with_nan(), r"the mask is float32 of shape \(60, 80\), with NaN"),
        (np.ones((60, 80, 3), np.bool_), r"the mask has the shape \(60, 80, 3\)"),
        (np.ones(4800, np.bool_), r"the mask has the shape \(4800,\)"),
        (np.ones((0, 80), np.bool_), r"the mask has the shape \(0, 80\)"),
        (WIDE.T, r"60 pixels across and 80 down, the slide 800 and 600.*transpose"),
        (np.ones((60, 60), np.bool_), r"60 pixels across and 60 down.*thumbnail"),
        (np.ones((60, 90), np.bool_), r"90 pixels across and 60 down"),
        (Finding(WIDE, REASONS.astype(np.int64)), "the reasons are int64; expected uint8"),
        (Finding(WIDE, REASONS[:-1]), r"the reasons have the shape \(59, 80\)"),
        (Finding(WIDE, REASONS + np.uint8(9)), "the reasons hold the code 10"),
        (Finding(~WIDE, REASONS), "TISSUE .0. in other places than the mask is True"),
        (Finding(WIDE, doubt=float("nan")), "doubt is nan; expected a share from 0 to 1"),
        (Finding(WIDE, doubt=1.5), "doubt is 1.5"),
        (Finding(WIDE, doubt="much"), "doubt is 'much'"),
        (Finding(WIDE, notes="dark"), "notes are 'dark'"),
        (Finding(WIDE, notes=(3,)), r"notes are \(3,\)"),
    ],
)
def test_nonsense_is_refused_by_name(slide, found, message):
    with pytest.raises(PluginError, match=message) as caught:
        find_tissue(slide, Returns(found))
    assert str(caught.value).startswith(
        "slide 'wide.tif': the segmenter 'guest' returned nonsense: "
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1), (60, 80), (58, 80), (61, 82), (600, 800), (37, 50)])
def test_a_mask_of_any_resolution_is_welcome(slide, shape):
    found = find_tissue(slide, Returns(np.ones(shape, np.bool_)))
    assert found.mask.shape == shape
    assert found.downsample_xy == (800 / shape[1], 600 / shape[0])
    assert found.finding.doubt is None, "who says nothing of doubt is not sure"


def test_a_whole_finding_comes_with_the_tissue(slide):
    given = Finding(WIDE, REASONS, np.float32(0.25), ("dark\nground: fluorescence?",))
    found = find_tissue(slide, Returns(given)).finding
    assert found.doubt == 0.25
    assert type(found.doubt) is float
    assert found.notes == ("dark ground: fluorescence?",)
    np.testing.assert_array_equal(found.reasons, REASONS)


def test_a_slide_without_tissue_says_what_it_has_instead(slide):
    reasons = np.full((60, 80), Reason.GROUND, np.uint8)
    reasons[:15] = Reason.INK
    empty = Finding(reasons == Reason.TISSUE, reasons, 0.9, ("pens only",))
    message = r"'guest' found no tissue: 75.0% bare glass, 25.0% ink of a pen; pens only; expected"
    with pytest.raises(EmptyTissueError, match=message):
        find_tissue(slide, Returns(empty))


@pytest.mark.parametrize("segmenter", ["all", Returns(np.ones((50, 50), np.bool_))])
def test_what_cannot_be_read_is_no_tissue_whoever_segments(tmp_path, segmenter):
    pixels = np.full((512, 512, 3), 240, np.uint8)
    path = write_layout(tmp_path / "hurt.tif", [pixels], tile_px=128)
    corrupt_tile(path, (300, 300))  # the file's own tile from 256 to 384
    with open_slide(path) as slide:
        found = find_tissue(slide, segmenter)
    assert found.mask.shape == (512, 512), "as fine as the damage is known"
    hurt = np.zeros((512, 512), np.bool_)
    hurt[256:384, 256:384] = True
    np.testing.assert_array_equal(found.mask, ~hurt)
    np.testing.assert_array_equal(found.finding.reasons == Reason.UNREADABLE, hurt)


@dataclass(frozen=True)
class Nameless:
    """A segmenter whose name was forgotten."""

    def find(self, slide):
        return WIDE

    def identity(self):
        return {"segmenter": "nameless"}


@dataclass(frozen=True)
class Unwritable(Returns):
    """A segmenter whose identity holds what no file can."""

    weights: tuple = (1, 2)

    def __post_init__(self):
        if self.weights == "bad":
            raise ValueError("weights are bad")

    def identity(self):
        return {"segmenter": self.name, "weights": np.array(self.weights)}


class Plain:
    """Something else."""


@pytest.mark.slow  # looking for who installed a package takes a third of a second each
@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("Nameless", {}, PluginError, "has no name; expected a text"),
        ("Unwritable", {}, PluginError, "identity of the segmenter 'guest' is no JSON"),
        (
            "Unwritable",
            {"weights": "bad"},
            ConfigError,
            "does not take these settings .weights are",
        ),
        ("Plain", {}, PluginError, "is no segmenter; expected a frozen dataclass"),
        ("WIDE", {}, PluginError, "is no segmenter"),
    ],
)
def test_segmenters_that_cannot_be_used_are_refused_before_any_slide(
    monkeypatch, name, settings, error, message
):
    monkeypatch.setitem(sys.modules, "guest_package", sys.modules[__name__])
    with pytest.raises(error, match=message):
        make_segmenter(f"guest_package.{name}", **settings)
