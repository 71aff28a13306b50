"""Is the memory of a training step what `slidenet train` estimates before it begins?

bench_training_memory.py [--networks abmil ...] [--bags 4] [--tiles 20000] [--feature-dim 1024]
                         [--precision 32-true bf16-mixed] [--device cuda]

For each network, the estimate of `slidenet.training.memory` and the peak of the second of two steps
(forward, backward, AdamW) on one padded batch, both without the weights and what is kept of them.
Above 1 the peak is more than was promised.
"""

import argparse
import time

import torch

from slidenet.mil import BAG_MODELS
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier
from slidenet.training.memory import measure_cost

GIB = 2**30
SETTINGS = {"longnet": {"shape": "longnet-small"}}
NOT_HERE = ("gigapath", "probe")
"""The first needs weights that are not ours to carry, the second is not trained by steps."""

TASK = BinaryTask(("label",), ("no", "yes"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", default=[n for n in BAG_MODELS if n not in NOT_HERE]
    )
    parser.add_argument("--bags", type=int, default=4)
    parser.add_argument("--tiles", type=int, default=20_000, help="of each bag")
    parser.add_argument("--feature-dim", type=int, default=1024)
    parser.add_argument("--precisions", nargs="+", default=["32-true", "bf16-mixed"])
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}\n")
    print(
        "| network | precision | bags x tiles | estimate, GiB | peak, GiB | peak / estimate | s |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in options.networks:
        for precision in options.precisions:
            torch.manual_seed(0)
            module = SlideClassifier(TASK, options.feature_dim, name, SETTINGS.get(name, {}))
            estimate = measure_cost(module).of(options.bags, options.tiles)
            try:
                peak, seconds = peak_of(module, precision, options)
            except torch.OutOfMemoryError:
                peak, seconds = float("nan"), float("nan")
            print(
                f"| {name} | {precision} | {options.bags} x {options.tiles} | {estimate / GIB:.2f}"
                f" | {peak / GIB:.2f} | {peak / estimate:.2f} | {seconds:.2f} |",
                flush=True,
            )
            del module
            torch.cuda.empty_cache()


def peak_of(
    module: SlideClassifier, precision: str, options: argparse.Namespace
) -> tuple[float, float]:
    """Bytes that the batch and its second step take at most, and seconds of that step."""
    device = torch.device(options.device)
    module = module.to(device).train()
    optimizer = torch.optim.AdamW(module.parameters())
    side = int(options.tiles**0.5) + 1
    index = torch.arange(options.tiles, device=device)
    cells = torch.stack([index % side, index // side], dim=1).expand(options.bags, -1, 2)
    shape = (options.bags, options.tiles, options.feature_dim)
    target = torch.arange(options.bags, device=device) % 2

    def step() -> None:
        features = torch.randn(shape, device=device)
        mask = torch.ones(shape[:2], dtype=torch.bool, device=device)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            output = module.network(features, cells, mask)
            loss = module.task.loss(output.logits.float(), target.float())
        loss.backward()
        optimizer.step()

    step()  # gradients and the optimiser's state are there from now on
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before, time.perf_counter() - started


if __name__ == "__main__":
    main()
