"""Graph breaks of compiled slide encoders, and what compiling them costs or gains.

    python scripts/benchmarks/bench_compile.py                  # breaks per pattern, pooling, mask
    python scripts/benchmarks/bench_compile.py --tokens 2048    # times, compiled by --backend

Times are ratios to the same encoder without a compiler, medians of turns taken one after the other.
"""

import argparse
import statistics
import time
import warnings

import torch

from slidenet.attention import ATTENTION_PATTERNS
from slidenet.slide_encoders import LongNetViT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="*", default=[], help="tiles per slide to time")
    parser.add_argument("--backend", default="aot_eager")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    if not given.tokens:
        print_breaks()
    for tokens in given.tokens:
        print_times(tokens, given.backend, given.turns)


def print_breaks() -> None:
    """Counted by `torch._dynamo.explain` on two slides and two blocks."""
    inputs = torch.randn(2, 40, 8), torch.randint(0, 50, (2, 40, 2))
    mask = torch.arange(40) < torch.tensor([[40], [25]])
    print("| pattern | pooling | without a mask | slides of two lengths, with a mask |")
    print("|---|---|---|---|")
    for name in ATTENTION_PATTERNS:
        net = LongNetViT(
            feature_dim=8, embed_dim=32, depth=2, num_heads=4, ffn_dim=32, attention=name,
            segment_lengths=(8, 16), dilation_rates=(1, 2), grid_size=50,
        ).eval()  # fmt: skip
        for pooling in ("class_token", "mean"):
            counts = []
            for given in (None, mask):
                torch._dynamo.reset()
                explained = torch._dynamo.explain(net)(*inputs, given, pooling=pooling)
                counts.append(explained.graph_break_count)
            print(f"| {name} | {pooling} | {counts[0]} | {counts[1]} |", flush=True)


def print_times(tokens: int, backend: str, turns: int) -> None:
    """Forward and backward of GigaPath's widths, two blocks, all tokens in both."""
    net = LongNetViT(feature_dim=256, depth=2, dropout=0.0, drop_path=0.0, pooling="mean")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    features, grid_xy = torch.randn(1, tokens, 256), torch.randint(0, 1000, (1, tokens, 2))
    for what in ("forward", "forward + backward"):
        taken: dict[str, list[float]] = {"eager": [], "compiled": []}
        for turn in range(turns + 1):
            for label, call in (("eager", net), ("compiled", compiled)):
                start = time.perf_counter()
                if what == "forward":
                    with torch.no_grad():
                        call(features, grid_xy)
                else:
                    net.zero_grad()
                    call(features, grid_xy).sum().backward()
                if turn:  # the first one compiles
                    taken[label].append(time.perf_counter() - start)
        eager, other = (statistics.median(x) for x in taken.values())
        print(
            f"{what}, {tokens} tiles, {backend}: {other / eager:.3f} of eager "
            f"({eager * 1e3:.0f} ms)",
            flush=True,
        )


if __name__ == "__main__":
    main()
