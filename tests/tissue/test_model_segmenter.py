"""A user's own network as segmenter: where it looks, what it must return, whose code runs."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slidenet.core.errors import (
    ConfigError,
    MissingWeightsError,
    PluginError,
    SlideError,
    SlidenetError,
    WeightsMismatchError,
)
from slidenet.slides import open_slide
from slidenet.testing import Blob, SyntheticSlide, write_pyramid
from slidenet.tissue import find_tissue, make_segmenter, segmenter_identity


class Darker(nn.Module):
    """Tissue where the mean of the channels is below a learned level; one channel of logits."""

    def __init__(self, shrink=1, answer="tensor"):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.6))
        self.shrink, self.answer = shrink, answer

    def forward(self, pixels):
        found = 50 * (self.level - pixels.mean(1, keepdim=True))
        if self.shrink > 1:
            found = nn.functional.avg_pool2d(found, self.shrink)
        if self.answer == "two":
            found = torch.cat([-found, found], 1)
        return {"tensor": found, "two": found, "mapping": {"out": found}}.get(self.answer, found)


class Wrong(nn.Module):
    """Returns what it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pixels):
        plane = pixels[:, :1]
        return {
            "nan": plane * float("nan"),
            "flat": plane[0],
            "odd": plane[:, :, :-3, :-3],
            "text": "tissue",
            "whole": plane.long(),
            "large": plane * 0 + 7,
        }[self.answer]


RAW = {"mean": (0, 0, 0), "std": (1, 1, 1)}
DARKER, WRONG = f"{__name__}.Darker", f"{__name__}.Wrong"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"level": torch.tensor(0.6)}, path)
    return path


@pytest.fixture
def scene():
    """A dark disc of 60 px on light ground, with noise; the truth by the rule of the network."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:301, :223]
    disc = (x - 110) ** 2 + (y - 150) ** 2 < 60**2
    image = np.where(disc, 100, 220)[..., None] + rng.integers(-9, 10, (301, 223, 3))
    return image.astype(np.uint8), disc


def test_no_channel_is_added_twice(weights):
    with pytest.raises(ConfigError, match=r"tissue_channels is \(1, 1\).*each channel once"):
        make_segmenter(
            "model",
            segmenter_weights=weights,
            segmenter_class=DARKER,
            tissue_channels=(1, 1),
        )


@pytest.mark.parametrize("tile_px", [64, 128, 512])
@pytest.mark.parametrize("answer", ["tensor", "two", "mapping"])
def test_squares_join_without_a_seam(weights, scene, tile_px, answer):
    image, truth = scene
    segmenter = make_segmenter(
        "model", segmenter_weights=weights, segmenter_class=DARKER, **RAW, tile_px=tile_px,
        overlap_px=16, class_settings={"answer": answer},
    )  # fmt: skip
    np.testing.assert_array_equal(segmenter.mask(image, 8.0), truth)


def test_outputs_may_be_smaller_by_a_whole_number(weights, scene):
    image, truth = scene
    segmenter = make_segmenter(
        "model", segmenter_weights=weights, segmenter_class=DARKER, **RAW,
        class_settings={"shrink": 4},
    )  # fmt: skip
    found = segmenter.mask(image, 8.0)
    assert (found & truth).sum() / (found | truth).sum() > 0.95


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("nan", "NaN or infinite"),
        ("flat", r"returns \(1, 512, 512\); expected floats \(1, C, 512, 512\)"),
        ("odd", r"float32 of shape \(1, 1, 509, 509\)"),
        ("text", "returns str"),
        ("whole", "returns torch.int64"),
        ("large", r"values from 7 to 7; expected probabilities"),
    ],
)
def test_nonsense_is_refused(tmp_path, scene, answer, message):
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    segmenter = make_segmenter(
        "model", segmenter_weights=path, segmenter_class=WRONG, outputs="probabilities",
        class_settings={"answer": answer},
    )  # fmt: skip
    with pytest.raises(PluginError, match=message):
        segmenter.mask(scene[0], 8.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # of making the archive
def test_an_archive_runs_only_where_it_is_allowed(tmp_path, scene):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(Darker(), torch.zeros(1, 3, 64, 64)), path)
    with pytest.raises(PluginError, match=r"TorchScript archive, which is a program.*--allow-code"):
        make_segmenter("model", segmenter_weights=path)
    with pytest.raises(ConfigError, match="brings its own code"):
        make_segmenter("model", segmenter_weights=path, segmenter_class=DARKER, allow_code=True)
    damaged = tmp_path / "damaged.pt"
    content = path.read_bytes()
    damaged.write_bytes(content.replace(b"PK\x01\x02", b"PK\x09\x09"))
    with pytest.raises(SlidenetError, match=r"damaged\.pt"):
        make_segmenter("model", segmenter_weights=damaged, segmenter_class=DARKER)
    segmenter = make_segmenter("model", segmenter_weights=path, allow_code=True, **RAW)
    np.testing.assert_array_equal(segmenter.mask(scene[0], 8.0), scene[1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"segmenter_weights": None}, ConfigError, "given no weights.*--segmenter-weights"),
        ({"segmenter_weights": "nowhere.pt"}, MissingWeightsError, "no weights file at nowhere.pt"),
        ({"segmenter_class": None}, ConfigError, "no segmenter_class is given"),
        ({"segmenter_class": "torch.nn.ReLU"}, WeightsMismatchError, "does not fit torch.nn.ReLU"),
        ({"segmenter_class": "json.dumps"}, PluginError, "cannot be made with"),
        ({"segmenter_class": "no_such.Net"}, SlidenetError, "unknown segmentation network"),
        ({"class_settings": {"depth": 3}}, PluginError, "cannot be made with"),
        ({"mean": (1, 2)}, ConfigError, "three numbers"),
        ({"std": (1, 0, 1)}, ConfigError, "std is 0"),
        ({"overlap_px": 256}, ConfigError, "nothing is left"),
        ({"outputs": "scores"}, ConfigError, "outputs is 'scores'"),
    ],
)
def test_what_is_wrong_is_said_before_any_slide(weights, change, error, message):
    settings = {"segmenter_weights": weights, "segmenter_class": DARKER} | change
    with pytest.raises(error, match=message):
        make_segmenter("model", **settings)


def test_the_identity_holds_the_weights_and_the_code_but_no_path(weights, tmp_path):
    def made(path, **more):
        return segmenter_identity(
            make_segmenter("model", segmenter_weights=path, segmenter_class=DARKER, **more)
        )

    same, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(weights.read_bytes())
    save_file({"level": torch.tensor(0.7)}, other)
    assert made(weights) == made(same)
    assert made(weights) != made(other)
    assert made(weights) != made(weights, min_probability=0.6)
    assert str(tmp_path) not in str(made(weights))
    assert "source_sha256" in str(made(weights))


def test_it_finds_the_tissue_of_a_slide(tmp_path):
    weights = tmp_path / "net.safetensors"
    save_file({"level": torch.tensor(0.85)}, weights)
    truth = SyntheticSlide(800, 600, (Blob(300, 300, 200, 150),), seed=3)
    path = write_pyramid(tmp_path / "slide.tiff", 800, 600, 2.0, truth)
    settings = {"segmenter_weights": weights, "segmenter_class": DARKER, **RAW}
    with open_slide(path) as slide:
        tissue = find_tissue(slide, "model", segment_mpp=4.0, **settings)
        with pytest.raises(SlideError, match=r"at 0.05 mpp its picture would be 32000 pixels"):
            find_tissue(slide, "model", segment_mpp=0.05, **settings)
        finer = find_tissue(slide, "model", segment_mpp=1.0, **settings)
    assert tissue.mask.shape == (300, 400)
    wanted = truth.tissue_mask(0, 0, 800, 600)[::2, ::2]
    assert (tissue.mask & wanted).sum() / (tissue.mask | wanted).sum() > 0.9
    assert "the slide has 2 mpp, the network expects 1" in finer.finding.notes[0]
