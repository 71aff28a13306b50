"""A segmentation network of the user's own, run tile by tile over the picture of a slide."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.checks import check_choice, check_positive, check_share, check_whole
from slidenet.core.errors import ConfigError, MissingWeightsError, PluginError, SlideError
from slidenet.core.plugins import code_identity
from slidenet.core.provenance import Identity
from slidenet.slides import Slide, mark_places
from slidenet.tissue.finding import Finding
from slidenet.tissue.masks import overview
from slidenet.tissue.segmenters.base import PictureSegmenter
from slidenet.tissue.segmenters.networks import NETWORKS, load_network

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_PICTURE_PX = 16_384
"""Longest side of the picture a network is run over: of a square slide it takes 800 MB."""

MPP_TOLERANCE = 0.05
_NO_SETTINGS = ("segmenter_weights", "segmenter_class", "device", "allow_code")


@dataclass(frozen=True)
class ModelSegmenter(PictureSegmenter):
    """Tissue is where a segmentation network of the user's own says so.

    The network takes float32 (B, 3, h, w), RGB in [0, 1] less `mean` over `std`, and returns
    (B, C, h', w') at the same or a smaller whole-numbered scale: one channel for tissue, or one per
    class with the background first. A mapping with such a tensor as "out" will do.

    It is run over squares of the picture that overlap; of each only the middle is used, so that no
    pixel is judged at the edge of what the network saw, except at the slide's own border, beyond
    which the picture is mirrored.

    Attributes:
        segmenter_weights: File of tensors (safetensors, or a state dict of torch.save), or a
            TorchScript archive.
        segmenter_class: The network the tensors belong to, by its import path or entry point of the
            group `slidenet.segmentation_networks`; None for an archive, which brings its own.
        class_settings: Arguments the class is made with.
        segment_mpp: Resolution the network works at, microns per pixel.
        mean: Per channel of RGB, of values in [0, 1].
        std: Per channel of RGB.
        outputs: What the network returns: "logits" (before sigmoid or softmax) or "probabilities".
        tissue_channels: Channels that are tissue; None for the only one, or all but the first.
        min_probability: From this probability of tissue on a pixel is tissue.
        tile_px: Side of the squares.
        overlap_px: Rim of a square that is seen and not used.
        black_level: Pixels whose brightest channel is below this are scanner black, never tissue; 0
            turns this off.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
        device: Where the network runs.
        allow_code: Whether an archive, which is a program, may be run.

    Raises:
        ConfigError: A setting is missing or out of range.
        MissingWeightsError: There is no such file.
        WeightsMismatchError: The file is no such file, or belongs to another class.
        PluginError: The class cannot be loaded or made, or an archive is not allowed to run.
    """

    name: ClassVar[str] = "model"
    knows_dark_ground: ClassVar[bool] = True  # or it does not; its maker knows
    finds_pale: ClassVar[bool] = True
    segmenter_weights: Path | str | None = None
    segmenter_class: str | None = None
    class_settings: Mapping[str, Any] | None = None
    segment_mpp: float = 8.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    outputs: Literal["logits", "probabilities"] = "logits"
    tissue_channels: tuple[int, ...] | None = None
    min_probability: float = 0.5
    tile_px: int = 512
    overlap_px: int = 64
    black_level: int = 20
    min_area_um2: float = 4000.0
    max_hole_um2: float = 16_000.0
    device: str = "cpu"
    allow_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segmenter_weights is None:
            raise ConfigError(
                "the segmenter 'model' is given no weights",
                expected="a file of your own network",
                remedy="pass --segmenter-weights FILE.safetensors --segmenter-class package:Class",
            )
        for name in ("mean", "std"):
            values = tuple(getattr(self, name))
            if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
                raise ConfigError(f"{name} is {values}", expected="three numbers, for R, G and B")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        check_positive(std=min(self.std))
        check_choice(("logits", "probabilities"), outputs=self.outputs)
        check_share(min_probability=self.min_probability)
        check_whole(tile_px=self.tile_px)
        check_whole(least=0, overlap_px=self.overlap_px)
        if 2 * self.overlap_px >= self.tile_px:
            raise ConfigError(
                f"overlap_px is {self.overlap_px} with a tile_px of {self.tile_px}",
                expected="less than half of it, or nothing is left to use",
            )
        if self.tissue_channels is not None:
            object.__setattr__(self, "tissue_channels", tuple(self.tissue_channels))
            for channel in self.tissue_channels:
                check_whole(least=0, tissue_channels=channel)
            if len(set(self.tissue_channels)) < len(self.tissue_channels):
                raise ConfigError(
                    f"tissue_channels is {self.tissue_channels}, and their probabilities are added",
                    expected="each channel once",
                )
        self._loaded()  # so that what is wrong is said before the first slide

    def find(self, slide: Slide) -> Finding:
        """What is tissue; a network sees the picture at its own resolution or not at all.

        Raises:
            SlideError: At `segment_mpp` the picture of the slide would be too large.
            PluginError: The network fails, or returns something else than it should.
        """
        longest = max(slide.level_dimensions[0]) * slide.slide_mpp.value / self.segment_mpp
        if longest > MAX_PICTURE_PX:
            raise SlideError(
                f"at {self.segment_mpp:g} mpp its picture would be {longest:.0f} pixels long",
                expected=f"at most {MAX_PICTURE_PX}",
                remedy="use a network that works at a coarser resolution, and say which with "
                "--segment-mpp",
                slide=slide.path.name,
            )
        image, mpp = overview(slide, self.segment_mpp, max_side_px=MAX_PICTURE_PX)
        readable = ~mark_places(slide.unreadable_places, (image.shape[1], image.shape[0]))
        found = self.judge(image, mpp, slide=slide.path.name, readable=readable)
        if mpp > self.segment_mpp * (1 + MPP_TOLERANCE):
            note = f"the slide has {mpp:.3g} mpp, the network expects {self.segment_mpp:g}"
            found = replace(found, notes=(*found.notes, note))
        return found

    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """See `PictureSegmenter.tissue`."""
        return self.probability(image, slide=slide) >= np.float32(self.min_probability)

    def probability(self, image: UInt8Array, *, slide: str = "") -> npt.NDArray[np.float32]:
        """Of tissue at every pixel, float32 (h, w).

        Args:
            image: uint8 RGB (h, w, 3) at `segment_mpp`.
            slide: Name of the slide, for messages.

        Raises:
            PluginError: The network fails, or returns something else than it should.
        """
        import torch

        network, _ = self._loaded()
        height, width = image.shape[:2]
        rim, step = self.overlap_px, self.tile_px - 2 * self.overlap_px
        down, across = -height % step + rim, -width % step + rim
        padded = np.pad(image, ((rim, down), (rim, across), (0, 0)), mode="symmetric")
        found = np.empty((height + down - rim, width + across - rim), np.float32)
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        with torch.inference_mode():
            for top, left in _corners(found.shape, step):
                square = padded[top : top + self.tile_px, left : left + self.tile_px]
                values = (square.astype(np.float32) / 255 - mean) / std
                pixels = torch.from_numpy(values.transpose(2, 0, 1)[None].copy())
                middle = self._of_square(network, pixels, slide)[rim : rim + step, rim : rim + step]
                found[top : top + step, left : left + step] = middle
        return found[:height, :width]

    def identity(self) -> Identity:
        """Name, settings, the digest of the weights and the code of the class."""
        settings = {name: value for name, value in vars(self).items() if name not in _NO_SETTINGS}
        settings["class_settings"] = dict(self.class_settings or {})
        _, digest = self._loaded()
        kind = None if self.segmenter_class is None else NETWORKS[self.segmenter_class]
        code = {} if not isinstance(kind, type) else code_identity(kind)
        if kind is not None and not code:
            code = NETWORKS.plugin_identity(str(self.segmenter_class))
        network: Identity = {"weights": digest, "code": code.get("plugin", {})}
        return {"segmenter": self.name, "network": network, **settings}

    def _loaded(self) -> tuple["nn.Module", str]:
        """The network, ready to run, and the digest of its weights; made once per process."""
        path = Path(str(self.segmenter_weights))
        if not path.is_file():
            raise MissingWeightsError(f"no weights file at {path}", remedy="check the path")
        stat = path.stat()
        return load_network(
            path,
            (stat.st_size, stat.st_mtime_ns),
            self.segmenter_class,
            json.dumps(dict(self.class_settings or {}), sort_keys=True),
            self.device,
            self.allow_code,
        )

    def _of_square(
        self, network: "nn.Module", pixels: "Tensor", slide: str
    ) -> npt.NDArray[np.float32]:
        """Probability of tissue over one square, float32 (tile_px, tile_px)."""
        import torch

        try:
            found: Any = network(pixels.to(next(iter(network.parameters()), pixels).device))
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise PluginError(
                f"the network fails on a picture of shape {tuple(pixels.shape)} ({reason})",
                expected="a network that takes float32 (B, 3, h, w)",
                remedy="look at tile_px in --segmenter-settings",
                slide=slide,
            ) from error
        if isinstance(found, Mapping):
            found = found.get("out")
        expected = f"floats (1, C, {self.tile_px}, {self.tile_px}), or smaller by a whole number"
        shown = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if not isinstance(found, torch.Tensor) or found.ndim != 4 or found.shape[0] != 1:
            raise PluginError(f"the network returns {shown}", expected=expected, slide=slide)
        channels, rows, columns = found.shape[1:]
        if (
            not channels * rows * columns
            or rows != columns
            or self.tile_px % rows
            or not found.is_floating_point()
        ):
            raise PluginError(
                f"the network returns {found.dtype} of shape {shown}",
                expected=expected,
                slide=slide,
            )
        if not torch.isfinite(found).all():
            raise PluginError(
                "the network returns NaN or infinite values", expected=expected, slide=slide
            )
        found = found[0].float().cpu()
        if self.outputs == "logits":
            found = found.sigmoid() if channels == 1 else found.softmax(0)
        elif found.min() < 0 or found.max() > 1 + 1e-4:
            raise PluginError(
                f"the network returns values from {found.min():.3g} to {found.max():.3g}",
                expected="probabilities in [0, 1]",
                remedy="set outputs to logits in --segmenter-settings",
                slide=slide,
            )
        chosen = self.tissue_channels or (tuple(range(1, channels)) or (0,))
        if max(chosen) >= channels:
            raise PluginError(
                f"the network returns {channels} channels, and tissue_channels are {chosen}",
                expected=f"channels below {channels}",
                slide=slide,
            )
        tissue: npt.NDArray[np.float32] = found[list(chosen)].sum(0).numpy()
        factor = self.tile_px // rows
        return tissue.repeat(factor, 0).repeat(factor, 1)


def _corners(shape: tuple[int, ...], step: int) -> Iterator[tuple[int, int]]:
    for top in range(0, shape[0], step):
        for left in range(0, shape[1], step):
            yield top, left
