"""What explaining a large slide costs: CPU time in forward-backward passes, and peak memory.

bench_explaining.py [--networks longnet-small gigapath] [--methods ...] [--tiles 20000]
    [--most-passes 0]

Every method runs in a process of its own on one slide of random features; the peak is the largest
resident set of that process, Python and PyTorch included. "pass" is one forward and backward of the
slide as in training, with gradients of all weights. The networks are LongNets with random weights:
"longnet-small" (attention pooling, 192 wide, 4 blocks) and "gigapath" (86 million weights, class
token after block 11), whose blocks are recomputed in the backward. With --most-passes a method is
stopped after so many passes, as later ones need the memory of the first two.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

METHODS = ("pass", "gradient_x_input", "integrated_gradients", "rollout")
FEATURE_DIM = 1536
MOST_MB = 4000
MOST_PASSES_OF_GRADIENT = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["longnet-small", "gigapath"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--tiles", type=int, default=20_000)
    parser.add_argument("--most-passes", type=int, default=0, help="0: as many as it takes")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child, options.tiles, options.most_passes)))
        return
    print(f"{options.tiles:,} tiles of {FEATURE_DIM} features")
    columns = ("network", "method", "passes", "CPU, s", "in passes", "peak, MB", "")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    too_much = False
    for network in options.networks:
        one_pass = None
        for method in options.methods:
            command = [sys.executable, __file__, "--child", network, method]
            command += ["--tiles", str(options.tiles), "--most-passes", str(options.most_passes)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            one_pass = found["seconds"] if method == "pass" else one_pass
            share = found["seconds"] / one_pass if one_pass else float("nan")
            cells = (network, method, found["passes"], f"{found['seconds']:.1f}", f"{share:.2f}")
            cells = (*cells, f"{found['peak_mb']:.0f}", found["words"])
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            too_much |= found["peak_mb"] > MOST_MB
            too_much |= method == "gradient_x_input" and share > MOST_PASSES_OF_GRADIENT
    print(f"allowed: {MOST_MB} MB, {MOST_PASSES_OF_GRADIENT} passes for gradient x input")
    sys.exit(too_much)


class Enough(Exception):
    """The passes asked for are done."""


def measure(network: str, method: str, tiles: int, most_passes: int) -> dict[str, object]:
    """One method on one slide: its passes, CPU seconds and peak memory."""
    import torch

    from slidenet.explanation import EXPLAINERS, Subject
    from slidenet.mil import make_bag_model
    from slidenet.tasks import ExplainedTarget

    torch.manual_seed(0)
    settings: dict[str, object] = {"shape": network}
    if network == "gigapath":
        settings |= {"pooling": "class_token", "layers": (11,), "checkpoint_activations": True}
    model = make_bag_model("longnet", feature_dim=FEATURE_DIM, num_outputs=1, **settings).eval()
    torch.nn.init.normal_(model.head.weight)
    side = int(tiles**0.5) + 1
    cells = torch.arange(tiles)
    subject = Subject(
        network=model,
        features=torch.randn(tiles, FEATURE_DIM),
        grid_xy=torch.stack([cells % side, cells // side], dim=1),
        offset=torch.zeros(1),
        scale=torch.ones(1),
    )
    target, passes = ExplainedTarget("positive", (1.0,)), 0
    forward = model.forward

    def count(*bags: torch.Tensor) -> object:
        nonlocal passes
        if most_passes and passes == most_passes:
            raise Enough
        passes += 1
        return forward(*bags)

    model.forward = count
    start, words = time.process_time(), ""
    try:
        if method == "pass":
            subject.score(target).backward()
        else:
            _, details = EXPLAINERS[method].explain(subject, target)
            gap = details.get("completeness_gap")
            words = f"gap {gap:.2%}" if isinstance(gap, float) else ""
    except Enough:
        words = "stopped"
    return {
        "passes": passes,
        "seconds": time.process_time() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "words": words,
    }


if __name__ == "__main__":
    main()
