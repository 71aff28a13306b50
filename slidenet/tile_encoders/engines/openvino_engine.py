"""The module as OpenVINO runs it: float32 on a CPU, faster than PyTorch."""

import os
import queue
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from slidenet.core.errors import EncoderError
from slidenet.core.provenance import software_version
from slidenet.tile_encoders.architecture import features_of, folded_copy
from slidenet.tile_encoders.engines.protocol import Engine, EngineName
from slidenet.tile_encoders.engines.silence import import_openvino
from slidenet.tile_encoders.spec import TileEncoderSpec
from slidenet.weights.device import available_cores

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 8
"""Images of a call. They are computed one after the other, so that an image stays in the caches of
its core: 1.15 times as fast as eight together (EfficientNet-Lite0)."""

FOLLOWING_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What torch.export and OpenVINO raise on code that they cannot follow."""


class OpenVinoEngine(Engine):
    """OpenVINO's CPU plug-in: as many images at once as there are cores, each alone on one thread.

    So the bytes of a feature vector depend on its image only: neither on the other images of a
    batch, nor on the number of cores, nor on what else runs. The module is converted (in seconds)
    when the first image comes.

    Args:
        module: With its weights, in eval mode, on the CPU, in float32.
        spec: How it is fed and pooled.
        batch_size: Images of a call.
        num_parallel: Images computed at the same time; None: one per core that this process may
            use (as many as OMP_NUM_THREADS says, where it is set).

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """

    name: EngineName = "openvino"
    version = software_version("openvino")

    def __init__(
        self,
        module: nn.Module,
        spec: TileEncoderSpec,
        *,
        batch_size: int | None = None,
        num_parallel: int | None = None,
    ) -> None:
        self._openvino = import_openvino()
        self.batch_size = batch_size or BATCH
        self.num_parallel = num_parallel or usable_cores()
        self._module, self._spec = module, spec
        self._converting = threading.Lock()
        self._requests: queue.SimpleQueue[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remade, (self._module, self._spec, self.batch_size, self.num_parallel))

    def run(self, images: "Tensor") -> "Tensor":
        """See `Engine.run`; one call more than `num_parallel` waits for its turn.

        Raises:
            EncoderError: The module cannot be turned into a graph of operators OpenVINO knows.
        """
        requests = self._free_requests()
        pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        features = []
        request = requests.get()
        try:
            for i in range(len(pixels)):
                request.infer([pixels[i : i + 1]], share_inputs=True)
                features.append(request.get_output_tensor().data.copy())
        finally:
            requests.put(request)
        return torch.from_numpy(np.concatenate(features))

    def _free_requests(self) -> "queue.SimpleQueue[Any]":
        with self._converting:
            if self._requests is None:
                module = _FromPixels(folded_copy(self._module), self._spec)
                side = self._spec.transform.input_px
                model = _converted(self._openvino, module, (1, side, side, 3), self._spec.name)
                compiled = self._openvino.Core().compile_model(
                    model,
                    "CPU",
                    {
                        "INFERENCE_PRECISION_HINT": "f32",  # or bf16 is taken where the CPU has it
                        "NUM_STREAMS": self.num_parallel,
                        "INFERENCE_NUM_THREADS": self.num_parallel,
                        # Two processes on one machine would share the first cores.
                        "ENABLE_CPU_PINNING": False,
                    },
                )
                self._requests = queue.SimpleQueue()
                for _ in range(self.num_parallel):
                    self._requests.put(compiled.create_infer_request())
            return self._requests


class _FromPixels(nn.Module):
    """uint8 (B, H, W, 3) to features, normalisation included: one graph of operators."""

    mean: "Tensor"
    std: "Tensor"

    def __init__(self, module: nn.Module, spec: TileEncoderSpec) -> None:
        super().__init__()
        self.module = module
        self.pooling = spec.pooling
        self.register_buffer("mean", torch.tensor(spec.transform.mean) * 255)
        self.register_buffer("std", torch.tensor(spec.transform.std) * 255)

    def forward(self, pixels: "Tensor") -> "Tensor":
        images = (pixels.float() - self.mean) / self.std
        return features_of(self.module, images.permute(0, 3, 1, 2), self.pooling)


def _converted(openvino: ModuleType, module: nn.Module, shape: tuple[int, ...], name: str) -> Any:
    """The graph of a module; exported, not traced, so that a branch on values is an error."""
    try:
        with torch.no_grad():
            exported = torch.export.export(
                module.eval(), (torch.zeros(shape, dtype=torch.uint8),), strict=False
            )
        model = openvino.convert_model(exported)
        model.reshape(shape)
    except FOLLOWING_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise EncoderError(
            f"the module of {name!r} cannot be run by OpenVINO ({reason})",
            expected="operators OpenVINO knows, and no branches on values",
            remedy="use the engine torch",
        ) from error
    return model


def _remade(
    module: nn.Module, spec: TileEncoderSpec, batch_size: int, num_parallel: int
) -> OpenVinoEngine:
    here = min(num_parallel, usable_cores())  # another process may have fewer
    return OpenVinoEngine(module, spec, batch_size=batch_size, num_parallel=here)


def usable_cores() -> int:
    """Cores this process may use: OMP_NUM_THREADS, else those the system lets it run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return available_cores()
