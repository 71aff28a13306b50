"""The machines of a plan: GPUs by kind, with rates that were measured or given, never guessed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slidenet.core.errors import ConfigError

MEASURED: Mapping[tuple[str, str, str], float] = {
    ("h200", "efficientnet_lite0", "fp32"): 9600,
    ("h200", "efficientnet_lite0", "bf16"): 11400,
    ("h200", "kaiko_vitb16", "fp32"): 757,
    ("h200", "kaiko_vitb16", "bf16"): 1880,
    ("h200", "gigapath", "fp32"): 103,
    ("h200", "gigapath", "bf16"): 874,
}
"""Tiles per second by GPU, encoder and precision: the table of tile encoders in
docs/performance.md (`encode`; of gigapath the network alone, whose tiles are only cropped)."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of one machine.

    Attributes:
        kind: Such as h200.
        number: How many; each has a process of its own.
        rate: Tiles per second that one of them encodes.
        source: Where the rate comes from.
    """

    kind: str
    number: int
    rate: float
    source: str


def gpus_of(text: str, encoder: str, precision: str, given: float | None) -> Gpus:
    """The GPUs meant.

    Args:
        text: "h200", or "4xh200".
        encoder: Name of the tile encoder.
        precision: It runs in.
        given: Tiles per second of one, where the user knows.

    Raises:
        ConfigError: It is no such text, or nobody has measured this encoder on such a GPU.
    """
    found = re.fullmatch(r"(?:(\d{1,3})x)?([A-Za-z][\w.+-]{0,39})", text.strip())
    if found is None or (found[1] is not None and not int(found[1])):
        raise ConfigError(
            f"gpus is {text!r}", expected="the kind of GPU, such as h200, or 4xh200 for four"
        )
    kind, number = found[2].lower(), int(found[1] or 1)
    if given is not None:
        return Gpus(kind, number, given, "as given")
    rate = MEASURED.get((kind, encoder, precision))
    if rate is None:
        of_kind = sorted(f"{e} in {p}" for k, e, p in MEASURED if k == kind)
        raise ConfigError(
            f"gpus is {text!r}, and the rate of the encoder {encoder} in {precision} on it is not "
            "known",
            expected=f"{', '.join(of_kind)} on {kind}"
            if of_kind
            else f"a GPU that was measured ({', '.join(sorted({k for k, _, _ in MEASURED}))})",
            remedy="run scripts/benchmarks/gpu/bench_tile_throughput.py on such a GPU and give "
            "its tiles per second as --tiles-per-second",
        )
    return Gpus(kind, number, rate, "docs/performance.md")
