"""Draws the mask of every attention pattern, each from its own mask(), into one picture.

draw_attention_masks.py [--out docs/images/attention_masks.png]

Small settings and 64 tokens, so that single pairs are visible; rows are queries, columns are keys.
Darker means more heads attend. Beside the name stands the share of all pairs that is attended.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from slidenet.attention import make_attention

LENGTH, NUM_HEADS, COLUMNS = 64, 4, 5

DRAWN = [
    ("dense", "dense", {}),
    ("sliding_window\nwindow 9", "sliding_window", {"window": 9}),
    ("sliding_window\nwindow 9, dilation 3", "sliding_window", {"window": 9, "dilation": 3}),
    ("strided\nstride 8, window 5", "strided", {"stride": 8, "window": 5}),
    ("strided, random\nstride 8, window 5", "strided",
     {"stride": 8, "window": 5, "sampling": "random"}),
    ("longformer\nwindow 9, global tokens 0 and 40", "longformer",
     {"window": 9, "global_tokens": (0, 40)}),
    ("bigbird\nblocks of 4: 3 near, 1 global, 2 random", "bigbird",
     {"block_size": 4, "random_blocks": 2}),
    ("topk_blocks (one random content)\nblocks of 4, 3 chosen", "topk_blocks",
     {"block_size": 4, "top_k": 3}),
    ("dilated\nsegments 8, 16, 64; rates 1, 2, 4", "dilated",
     {"segment_lengths": (8, 16, 64), "dilation_rates": (1, 2, 4)}),
    ("longformer, causal\nwindow 9, global tokens 0 and 40", "longformer",
     {"window": 9, "global_tokens": (0, 40)}),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/attention_masks.png"))
    out = parser.parse_args().out
    rows = -(-len(DRAWN) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(2.6 * COLUMNS, 3.1 * rows))
    for axis, (title, name, settings) in zip(axes.flat, DRAWN, strict=True):
        mask = make_attention(name, **settings).mask(LENGTH, NUM_HEADS, causal="causal" in title)
        heads = mask.expand(NUM_HEADS, LENGTH, LENGTH).float()
        axis.imshow(heads.mean(dim=0), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=8)
        axis.set_xlabel(f"{100 * heads.mean():.1f} % of all pairs", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80, metadata={"Software": None})
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
