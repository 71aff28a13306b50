"""Which engine runs an encoder: the one asked for, or the faster one, proven to agree."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from slidenet.core.checks import check_choice
from slidenet.core.errors import EncoderError, SlidenetError
from slidenet.tile_encoders.encoder import TileEncoder
from slidenet.tile_encoders.engines.protocol import AskedEngine, Engine
from slidenet.tile_encoders.engines.silence import openvino_is_installed
from slidenet.tile_encoders.engines.torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-5
"""Largest difference of two engines' features, as a share of the largest feature: ten times what
rounding in another order makes (PyTorch's own batches of 1 and 16 differ by 1.4e-6)."""

SLOW_BATCH_S = 2.0
"""A batch of so long is not run a second time to measure it."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and why it was taken.

    Attributes:
        engine: Ready to run.
        reason: For people, in a few words.
    """

    engine: Engine
    reason: str


def choose_engine(
    encoder: TileEncoder, asked: AskedEngine = "auto", *, batch_size: int | None = None
) -> EngineChoice:
    """The engine for an encoder.

    "auto" takes OpenVINO for float32 on a CPU, where it is installed, can follow the module, gives
    the same features as PyTorch to within `TOLERANCE` and takes less CPU time for them; else
    PyTorch.

    Args:
        encoder: With its weights, on its device.
        asked: "auto", or the one to take.
        batch_size: Images of a call; None: the engine's own.

    Raises:
        ConfigError: No such engine.
        MissingExtraError: OpenVINO was asked for by name and is not installed.
        EncoderError: OpenVINO was asked for by name and cannot run this encoder.
    """
    check_choice(("auto", "torch", "openvino"), engine=asked)
    in_torch = TorchEngine(
        encoder.module, encoder.spec, encoder.device, encoder.precision, batch_size=batch_size
    )
    if asked == "torch":
        return EngineChoice(in_torch, "as asked")
    unfit = _why_not_openvino(encoder)
    if asked == "auto" and not unfit and not openvino_is_installed():
        unfit = "OpenVINO is not installed; pip install 'slidenet[cpu]'"
    if asked == "auto" and unfit:
        return EngineChoice(in_torch, unfit)
    if unfit:
        raise EncoderError(
            f"the engine openvino cannot run {encoder.spec.name!r}: {unfit}",
            expected="an encoder in fp32 on the CPU",
            remedy="use the engine torch or auto, or device cpu and precision fp32",
        )
    from slidenet.tile_encoders.engines.openvino_engine import OpenVinoEngine

    try:
        in_openvino = OpenVinoEngine(encoder.module, encoder.spec, batch_size=batch_size)
        times = compare(in_openvino, in_torch, encoder)
    except SlidenetError as error:
        if asked == "openvino":
            raise
        return EngineChoice(in_torch, error.found)
    if asked == "openvino":
        return EngineChoice(in_openvino, "as asked")
    faster = times[1] / times[0]
    words = f"openvino takes 1/{faster:.1f} of the CPU time of torch, with the same features"
    return EngineChoice(in_openvino if faster > 1 else in_torch, words)


def _why_not_openvino(encoder: TileEncoder) -> str:
    """Empty where nothing speaks against it."""
    if type(encoder) is not TileEncoder:
        return f"{type(encoder).__name__} of another package runs its module itself"
    if encoder.device.type != "cpu":
        return f"it runs on {encoder.device}"
    if encoder.precision != "fp32":
        return f"it runs in {encoder.precision}"
    return ""


def compare(engine: Engine, reference: Engine, encoder: TileEncoder) -> tuple[float, float]:
    """Proves that an engine gives the features of another, and measures both.

    Args:
        engine: What is tried.
        reference: What is believed.
        encoder: Of both.

    Returns:
        CPU seconds of a batch, of `engine` and of `reference`.

    Raises:
        EncoderError: The features differ by more than `TOLERANCE` or are not finite.
    """
    images = probe_images(engine.batch_size, encoder.spec.transform.input_px)
    found, seconds = _timed(engine, images)
    wanted, reference_seconds = _timed(reference, images)
    encoder.check_features(wanted)
    difference = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    if not difference <= TOLERANCE:  # so that NaN is refused too
        raise EncoderError(
            f"{engine.name} gives other features of {encoder.spec.name!r} than "
            f"{reference.name}: they differ by {difference:.1e} of the largest",
            expected=f"at most {TOLERANCE:g}",
            remedy=f"use the engine {reference.name}",
        )
    if max(seconds, reference_seconds) < SLOW_BATCH_S:  # the first call also makes ready
        seconds = min(_timed(engine, images)[1] for _ in range(3))
        reference_seconds = min(_timed(reference, images)[1] for _ in range(3))
    return seconds, reference_seconds


def probe_images(batch_size: int, side: int) -> "Tensor":
    """Images of every brightness and grain, uint8 (B, 3, side, side); the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(batch_size, 3, side, side)
    for cells in (1, 4, 16, side):
        noise = torch.rand(batch_size, 3, cells, cells, generator=generator) - 0.5
        images += torch.nn.functional.interpolate(noise, size=(side, side), mode="nearest")
    pixels = (128 + 90 * images).clamp(0, 255).to(torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)


def _timed(engine: Engine, images: "Tensor") -> "tuple[Tensor, float]":
    clock = time.process_time()
    features = engine.run(images).float().cpu()
    return features, time.process_time() - clock
