"""The module as PyTorch runs it, on any device and in any precision."""

from typing import TYPE_CHECKING

import torch

from slidenet.core.provenance import software_version
from slidenet.tile_encoders.engines.protocol import Engine, EngineName
from slidenet.tile_encoders.spec import Precision, TileEncoderSpec
from slidenet.tile_encoders.transforms import normalise

if TYPE_CHECKING:
    from torch import Tensor, nn

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

CPU_BATCH, GPU_BATCH = 8, 64
"""On a CPU, 8 images stay in its caches: 1.1 to 1.4 times as fast as 64 (EfficientNet-Lite0)."""

MOST_IMAGES = 512
"""On a CPU, images computed at the same time: their activations take some GB for large models."""

GPU_CALLS = 3
"""One that computes, one whose work is lined up behind it, one whose images are on their way."""


class TorchEngine(Engine):
    """PyTorch; half precision by autocast.

    Args:
        module: With its weights, in eval mode and on its device.
        spec: How it is fed and pooled.
        device: Where it lies.
        precision: Arithmetic.
        batch_size: Images of a call; None: what runs well on the device.
    """

    name: EngineName = "torch"
    version = software_version("torch")

    def __init__(
        self,
        module: "nn.Module",
        spec: TileEncoderSpec,
        device: torch.device,
        precision: Precision,
        *,
        batch_size: int | None = None,
    ) -> None:
        # Brings timm, which verbs need not wait for before their settings are known to be right.
        from slidenet.tile_encoders.architecture import features_of, folded_copy

        self._features_of = features_of
        self.batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        # As many as there are cores, each on one thread, in bounded memory. On a GPU the next batch
        # is copied and its work lined up while one is computed; elsewhere nothing is known.
        on_cpu = min(torch.get_num_threads(), max(1, MOST_IMAGES // self.batch_size))
        self.num_parallel = {"cpu": on_cpu, "cuda": GPU_CALLS}.get(device.type, 1)
        self._module = folded_copy(module)
        self._pooling = spec.pooling
        self._device = device
        self._dtype = AUTOCAST.get(precision)
        self._normalise = normalise(spec.transform)

    def run(self, images: "Tensor") -> "Tensor":
        """See `Engine.run`."""
        with torch.inference_mode():
            normalised = self._normalise(self._moved(images))
            with torch.autocast(
                self._device.type, dtype=self._dtype, enabled=self._dtype is not None
            ):
                return self._features_of(self._module, normalised, self._pooling)

    def _moved(self, images: "Tensor") -> "Tensor":
        """The images on the device; on a GPU they are copied while other batches are computed."""
        if self._device.type != "cuda" or images.is_cuda:
            return images.to(self._device)
        pinned = torch.empty_like(images, pin_memory=True).copy_(images)
        copying = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(copying):
            moved = pinned.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(copying)
        moved.record_stream(computing)  # so that its memory is not reused too early
        return moved
