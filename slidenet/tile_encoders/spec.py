"""What slidenet knows of a tile encoder before loading it. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from slidenet.core.checks import check_positive
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity
from slidenet.core.units import Mpp
from slidenet.weights.hub import HubWeights as HubWeights

Pooling = Literal["class", "class_patch_mean", "model"]
"""How tokens become one vector.

"class": the class token after the last norm. "class_patch_mean": class token, then the mean of the
patch tokens; register tokens are left out of the mean. "model": what the module itself returns.
"""

Precision = Literal["fp32", "bf16", "fp16"]
Interpolation = Literal["bilinear", "bicubic"]
ArchitectureArgument = bool | int | float | str

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

DEFAULT_TILE_SIZE_PX = 256
DEFAULT_TARGET_MPP = Mpp(0.5)


@dataclass(frozen=True, slots=True)
class InputTransform:
    """From a uint8 tile to the tensor a model was trained on.

    The shorter side is resized to `resize_px` (antialiased), the centre `input_px` square is cut
    out, pixels become floats in [0, 1], then `(x - mean) / std` per channel.

    Attributes:
        input_px: Side of the square the model sees.
        resize_px: Length the shorter side is resized to before cropping.
        interpolation: Resampling filter.
        mean: Per-channel mean (RGB) of pixels in [0, 1].
        std: Per-channel deviation (RGB).
    """

    input_px: int = 224
    resize_px: int = 224
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 0 < self.input_px <= self.resize_px:
            raise ConfigError(
                f"input_px is {self.input_px} and resize_px is {self.resize_px}",
                expected="0 < input_px <= resize_px, so that the crop lies inside the image",
            )
        for value in self.std:
            check_positive(std=value)

    def identity(self) -> Identity:
        """The settings as JSON-able values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class WheelWeights:
    """Weights that an installed Python package carries.

    Attributes:
        package: Import name of the package.
        path: Path of the file inside it, with forward slashes.
    """

    package: str
    path: str


@dataclass(frozen=True, slots=True)
class TimmWeights:
    """Pretrained weights as timm itself finds and loads them.

    Attributes:
        repo_id: The hub repository timm names; empty where timm has no pretrained weights.
    """

    repo_id: str


WeightsSource = HubWeights | WheelWeights | TimmWeights


@dataclass(frozen=True, slots=True)
class TileEncoderSpec:
    """One tile encoder: how to build it, feed it and read its features.

    Attributes:
        name: Name in slidenet.
        architecture: timm architecture.
        arguments: Arguments of `timm.create_model`; `mlp_layer` is a name in `timm.layers`.
        weights: Where pretrained weights come from; None where there is no such place.
        transform: Preprocessing as its authors publish it.
        output_dim: Length of a feature vector.
        pooling: How tokens become a vector.
        precision: Default precision on accelerators; the CPU default is fp32.
        tile_size_px: Side of the tiles its authors use, at `target_mpp`.
        target_mpp: Resolution its authors use.
        licence: Licence of the weights.
        citation: Paper or model card.
    """

    name: str
    architecture: str
    weights: WeightsSource | None
    output_dim: int
    licence: str
    citation: str
    arguments: Mapping[str, ArchitectureArgument] = field(default_factory=dict)
    transform: InputTransform = InputTransform()
    pooling: Pooling = "class"
    precision: Precision = "fp16"
    tile_size_px: int = DEFAULT_TILE_SIZE_PX
    target_mpp: Mpp = DEFAULT_TARGET_MPP

    @property
    def gated(self) -> bool:
        """Whether access to the weights must be requested first."""
        return isinstance(self.weights, HubWeights) and self.weights.gated
