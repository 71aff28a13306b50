"""What runs a tile encoder's module: prepared images in, feature vectors out. No torch."""

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

EngineName = Literal["torch", "openvino"]
AskedEngine = Literal["auto", "torch", "openvino"]
"""What a user may ask for; "auto": see `choice.choose_engine`."""


class Engine(Protocol):
    """Runs one module in one precision. Several threads may call it at once. Picklable.

    Attributes:
        name: "torch" or "openvino"; part of an encoder's identity.
        version: Of the library that computes.
        batch_size: Images that one call should hold.
        num_parallel: Threads that keep the machine busy when each of them calls `run`.
    """

    name: EngineName
    version: str
    batch_size: int
    num_parallel: int

    def run(self, images: "Tensor") -> "Tensor":
        """Features of prepared images.

        The same images in the same order, as many at once, give the same bytes on the same kind of
        machine, whatever other threads do.

        Args:
            images: uint8 (B, 3, input_px, input_px), B > 0, as `TileEncoder.prepare` gives them;
                on the CPU (pinned memory is copied without waiting) or where the module lies.

        Returns:
            (B, feature_dim), in the engine's precision, where the module lies; on CUDA the work
            may still be under way. Whether they are finite is not looked at.
        """
