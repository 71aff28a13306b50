"""Which engine runs an encoder: the one asked for, or the faster one, proven to agree."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

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

QUICK_IMAGE_S = 1e-3
"""An image of so short is read more slowly than it is encoded."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and why it was taken.

    Attributes:
        engine: Ready to run.
        reason: For people, in a few words.
        fell_back: Whether the faster engine is missing or failed.
    """

    engine: Engine
    reason: str
    fell_back: bool = False


def choose_engine(
    encoder: TileEncoder,
    asked: AskedEngine = "auto",
    *,
    batch_size: int | None = None,
    proven: bool = False,
) -> EngineChoice:
    """The engine for an encoder.

    "auto" takes OpenVINO for float32 on a CPU, where it is installed, can follow the module, gives
    the same features as PyTorch to within `TOLERANCE` and takes less CPU time for them; else
    PyTorch.

    Args:
        encoder: With its weights, on its device.
        asked: "auto", or the one to take.
        batch_size: Images of a call; None: the engine's own.
        proven: Whether the engine asked for has been found to agree on such a machine before.

    Raises:
        ConfigError: No such engine.
        MissingExtraError: OpenVINO was asked for by name and is not installed.
        EncoderError: OpenVINO was asked for by name and cannot run this encoder.
    """
    check_choice(get_args(AskedEngine), engine=asked)
    torch_engine = TorchEngine(
        encoder.module, encoder.spec, encoder.device, encoder.precision, batch_size=batch_size
    )
    if asked == "torch":
        return EngineChoice(torch_engine, "as asked")
    unfit = _why_not_openvino(encoder)
    if asked == "openvino":
        if unfit:
            raise EncoderError(
                f"the engine openvino cannot run {encoder.spec.name!r}: {unfit}",
                expected="an encoder in fp32 on the CPU",
                remedy="use the engine torch or auto, or device cpu and precision fp32",
            )
        return EngineChoice(_openvino(encoder, batch_size, proven=proven), "as asked")
    if unfit:
        return EngineChoice(torch_engine, unfit)
    images = probe_images(torch_engine.batch_size, encoder.spec.transform.input_px)
    by_torch = _seconds(torch_engine, images)
    if by_torch < QUICK_IMAGE_S:
        return EngineChoice(torch_engine, f"an image takes {1e3 * by_torch:.2f} ms")
    if not openvino_is_installed():
        reason = "OpenVINO is not installed; pip install 'slidenet[cpu]', which is faster"
        return EngineChoice(torch_engine, reason, fell_back=True)
    try:
        openvino_engine = _openvino(encoder, batch_size)
    except SlidenetError as error:
        return EngineChoice(torch_engine, error.found, fell_back=True)
    faster = by_torch / _seconds(openvino_engine, images)
    return EngineChoice(
        openvino_engine if faster > 1 else torch_engine,
        f"openvino runs {encoder.spec.name} {faster:.2f} times as fast as torch, and agrees",
    )


def _why_not_openvino(encoder: TileEncoder) -> str:
    """Empty where nothing speaks against it."""
    if type(encoder) is not TileEncoder:
        return f"{type(encoder).__name__} of another package runs its module itself"
    if encoder.device.type != "cpu":
        return f"it runs on {encoder.device}"
    if encoder.precision != "fp32":
        return f"it runs in {encoder.precision}"
    return ""


def _openvino(encoder: TileEncoder, batch_size: int | None, *, proven: bool = False) -> Engine:
    # Imported here: it needs the extra.
    from slidenet.tile_encoders.engines.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine(encoder.module, encoder.spec, batch_size=batch_size)
    if not proven:
        check_agreement(engine, encoder)
    return engine


def check_agreement(engine: Engine, encoder: TileEncoder) -> None:
    """Proves that an engine gives the features that an encoder's own engine gives.

    Raises:
        EncoderError: They differ by more than `TOLERANCE`, or are not finite.
    """
    images = probe_images(engine.batch_size, encoder.spec.transform.input_px)
    found, wanted = (e.run(images).float().cpu() for e in (engine, encoder.engine))
    encoder.check_features(wanted)
    difference = float("inf")
    if found.shape == wanted.shape:
        difference = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    if not difference <= TOLERANCE:  # so that NaN is refused too
        raise EncoderError(
            f"{engine.name} gives other features of {encoder.spec.name!r} than "
            f"{encoder.engine.name}: they differ by {difference:.1e} of the largest",
            expected=f"at most {TOLERANCE:g}",
            remedy=f"use the engine {encoder.engine.name}",
        )


def probe_images(batch_size: int, side: int) -> "Tensor":
    """Images of every brightness and grain, uint8 (B, 3, side, side); the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(batch_size, 3, side, side)
    for cells in (1, 4, 16, side):
        noise = torch.rand(batch_size, 3, cells, cells, generator=generator) - 0.5
        images += torch.nn.functional.interpolate(noise, size=(side, side), mode="nearest")
    pixels = (128 + 90 * images).clamp(0, 255).to(torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)


def _seconds(engine: Engine, images: "Tensor") -> float:
    """CPU time of an image: unlike the time on the clock, the same on a machine that is busy."""
    fastest = float("inf")
    for _ in range(4):  # the first time also makes ready
        clock = time.process_time()
        engine.run(images).cpu()
        fastest = min(fastest, time.process_time() - clock)
        if fastest > SLOW_BATCH_S:
            break
    return fastest / len(images)
