"""The tile encoder: uint8 tiles in, float32 features out, with an identity."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from slidenet.core.errors import EncoderError
from slidenet.core.plugins import Plugin
from slidenet.core.provenance import Identity
from slidenet.core.units import Mpp
from slidenet.tile_encoders.engines.protocol import Engine
from slidenet.tile_encoders.spec import (
    DEFAULT_TARGET_MPP,
    DEFAULT_TILE_SIZE_PX,
    InputTransform,
    Pooling,
    Precision,
    TileEncoderSpec,
)
from slidenet.weights.device import resolve_device
from slidenet.weights.files import digest_of_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class TileEncoder:
    """A module with its preprocessing, pooling, precision and identity.

    Built by `load_tile_encoder` or `TileEncoder.from_module`, not directly.

    Args:
        spec: What the module is and how it is fed.
        module: The module with its weights; put in eval mode, frozen and moved to `device`.
        weights_source: Where the weights came from, for people; not part of the identity.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best one present.
        precision: None takes the spec's precision on accelerators and fp32 on the CPU.
        plugin: The code of another package that it comes from, if any; part of the identity.
        engine: Runs the module; None: PyTorch.

    Attributes:
        spec: As given.
        module: As given.
        device: Where the module lies.
        precision: The precision in use.
        engine: As given.
        weights_sha256: Digest of the weights.
        weights_source: As given.
    """

    def __init__(
        self,
        spec: TileEncoderSpec,
        module: "nn.Module",
        *,
        weights_source: str,
        device: "str | torch.device" = "cpu",
        precision: Precision | None = None,
        plugin: Plugin | None = None,
        engine: Engine | None = None,
    ) -> None:
        from slidenet.tile_encoders.engines.torch_engine import TorchEngine
        from slidenet.tile_encoders.transforms import resize_and_crop

        self.spec = spec
        self.plugin = plugin
        self.device = resolve_device(device)
        self.precision = resolve_precision(spec, self.device, precision)
        self.weights_sha256 = digest_of_state(module.state_dict())
        self.weights_source = weights_source
        self.module = module.eval().requires_grad_(False).to(self.device)
        self.engine = engine or TorchEngine(self.module, spec, self.device, self.precision)
        self._resize_and_crop = resize_and_crop(spec.transform)

    @classmethod
    def from_module(
        cls,
        module: "nn.Module",
        *,
        name: str,
        transform: InputTransform | None = None,
        pooling: Pooling = "model",
        device: "str | torch.device" = "cpu",
        precision: Precision = "fp32",
        tile_size_px: int = DEFAULT_TILE_SIZE_PX,
        target_mpp: Mpp = DEFAULT_TARGET_MPP,
    ) -> "TileEncoder":
        """Wraps any module that turns (B, 3, H, W) float images into features.

        The module itself is used: put in eval mode, frozen and moved to `device`.

        The identity holds `name` and a digest of the state dict. It cannot see code: give another
        name to another `forward` over the same weights.

        Args:
            module: The module, with its weights.
            name: Name in the identity.
            transform: Preprocessing; the default resizes to 224 px with ImageNet statistics.
            pooling: "model" for a module that returns (B, D); the token poolings for timm vision
                transformers.
            device: Where to run.
            precision: Autocast precision.
            tile_size_px: Side of the tiles the module expects.
            target_mpp: Resolution the module expects.

        Raises:
            EncoderError: The module does not return one vector per tile.
        """
        from slidenet.tile_encoders.architecture import output_dim_of

        transform = transform or InputTransform()
        spec = TileEncoderSpec(
            name=name,
            architecture=f"{type(module).__module__}.{type(module).__qualname__}",
            weights=None,
            output_dim=0,
            licence="unknown",
            citation="",
            transform=transform,
            pooling=pooling,
            precision=precision,
            tile_size_px=tile_size_px,
            target_mpp=target_mpp,
        )
        target = resolve_device(device)
        module = module.eval().to(target)
        dim = output_dim_of(module, transform.input_px, pooling, str(target))
        return cls(
            replace(spec, output_dim=dim),
            module,
            weights_source="given module",
            device=target,
            precision=precision,
        )

    def with_engine(self, engine: Engine) -> Self:
        """The same encoder, run by another engine."""
        other = copy.copy(self)
        other.engine = engine
        return other

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector."""
        return self.spec.output_dim

    def encode(self, tiles: "Tensor") -> "Tensor":
        """Features of a batch of tiles; as many threads may call it as the engine has use for.

        Args:
            tiles: uint8 (B, 3, H, W), RGB, of any size; preprocessing happens here.

        Returns:
            float32 (B, feature_dim) on the CPU.

        Raises:
            EncoderError: `tiles` are not uint8 RGB, or a feature is not finite.
        """
        import torch

        images = self.prepare(tiles)
        if len(images) == 0:
            return torch.empty(0, self.feature_dim)
        features = self.engine.run(images).float().cpu()
        self.check_features(features)
        return features

    def prepare(self, tiles: "Tensor") -> "Tensor":
        """The geometric part of preprocessing: what an engine takes.

        Args:
            tiles: uint8 (B, 3, H, W), RGB, of any size.

        Returns:
            uint8 (B, 3, input_px, input_px) on the CPU.

        Raises:
            EncoderError: `tiles` are not uint8 RGB.
        """
        _check_tiles(tiles)
        return self._resize_and_crop(tiles) if len(tiles) else tiles

    def check_features(self, features: "Tensor") -> None:
        """Refuses features (B, feature_dim) that are not finite.

        Raises:
            EncoderError: One of them is not.
        """
        import torch

        assert features.shape[1] == self.feature_dim, (
            f"{self.spec.name}: spec says {self.feature_dim}, module gives {features.shape[1]}"
        )
        finite = torch.isfinite(features)
        if not finite.all():
            bad = (~finite.all(dim=1)).sum().item()
            raise EncoderError(
                f"{bad} of {len(features)} feature vectors of {self.spec.name!r} are not finite "
                f"in {self.precision}",
                expected="finite features",
                remedy="use precision bf16 or fp32"
                if self.precision == "fp16"
                else "check the weights file; its numbers are broken",
            )

    def identity(self) -> Identity:
        """Everything that decides the numbers, JSON-able; equal identities, equal features."""
        return {
            "encoder": self.spec.name,
            "architecture": self.spec.architecture,
            "arguments": dict(self.spec.arguments),
            "weights_sha256": self.weights_sha256,
            "transform": self.spec.transform.identity(),
            "pooling": self.spec.pooling,
            "precision": self.precision,
            "feature_dim": self.feature_dim,
            **({} if self.plugin is None else {"plugin": self.plugin.identity()}),
            # PyTorch was the only engine once; identities made then stay what they were.
            **({} if self.engine.name == "torch" else {"engine": self.engine.name}),
        }

    def __repr__(self) -> str:
        return (
            f"TileEncoder({self.spec.name!r}, {self.feature_dim}-d, {self.precision} on "
            f"{self.device}, weights from {self.weights_source})"
        )


def resolve_precision(
    spec: TileEncoderSpec, device: "torch.device", asked: Precision | None
) -> Precision:
    """The precision to run in: the one asked for, else the spec's, which on the CPU is fp32.

    Raises:
        EncoderError: An unknown precision, or fp16 on the CPU.
    """
    if asked is None:
        return "fp32" if device.type == "cpu" else spec.precision
    if asked not in ("fp32", "bf16", "fp16"):
        raise EncoderError(f"unknown precision {asked!r}", expected="fp32, bf16 or fp16")
    if asked == "fp16" and device.type == "cpu":
        raise EncoderError(
            f"precision fp16 for {spec.name!r} on the CPU",
            expected="fp32 or bf16 on the CPU, whose fp16 kernels are slow or missing",
            remedy="use precision bf16 (fast) or fp32 (exact), or run on a GPU",
        )
    return asked


def _check_tiles(tiles: object) -> None:
    import torch

    if not isinstance(tiles, torch.Tensor):
        found = type(tiles).__name__
    elif tiles.dtype != torch.uint8 or tiles.ndim != 4 or tiles.shape[1] != 3:
        found = f"{str(tiles.dtype).removeprefix('torch.')} of shape {tuple(tiles.shape)}"
    else:
        return
    raise EncoderError(
        f"tiles are {found}",
        expected="a uint8 tensor (B, 3, H, W) of RGB pixels",
        remedy="torch.from_numpy(tiles).permute(0, 3, 1, 2) for arrays (B, H, W, 3)",
    )
