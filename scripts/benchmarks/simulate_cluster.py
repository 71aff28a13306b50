"""100 machines and 100,000 slides: who should hand out the slides, and in how large shards?

simulate_cluster.py [--slides 100000] [--nodes 100] [--seed 0] [--picture FILE] [further rates]

A simulation of events (`cluster_simulation/`): nodes start, take slides, share a disk, fail, come
back. Rates are measured or assumed as the help of each flag says. Prints three tables in Markdown:
ways to hand out slides on a calm and a rough cluster and with a slow disk; how many shards; how
many jobs on one list. `--picture` draws the last two. Seeded: the same flags give the same numbers.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from cluster_simulation.engine import simulate
from cluster_simulation.model import Cluster, Cohort, Outcome, draw_cohort
from cluster_simulation.sources import Groups, OneList, Shards, Source, chunks, hashed_parts
from matplotlib.ticker import StrMethodFormatter

from slidenet.visualisation.style import (
    blank_figure,
    line_style,
    save_figure,
    set_title,
    style_axes,
)

HOUR_S = 3600.0
SHARDS_PER_NODE = (1, 2, 5, 10, 20, 50, 100)
STARTS_S = (10.0, 30.0, 120.0)
JOBS = (10, 30, 100, 300, 1000)
JOBS_PER_LIST = 4


def main() -> None:
    options = arguments().parse_args()
    rng = np.random.default_rng(options.seed)
    cohort = draw_cohort(options.slides, options.mean_tiles, options.sigma, options.alike, rng)
    calm = Cluster(
        nodes=options.nodes,
        tiles_per_s=options.tiles_per_s,
        slide_s=options.slide_s,
        start_s=options.start_s,
        repair_s=options.repair_s,
    )
    rough = replace(
        calm,
        slow_nodes=round(0.03 * options.nodes),
        slow_speed=1 / 3,
        node_life_s=options.life_h * HOUR_S,
    )
    per_slide = cohort.tiles.mean() / calm.tiles_per_s + calm.slide_s
    print(
        f"{options.slides:,} slides of {cohort.tiles.mean():,.0f} tiles on average (the largest "
        f"{cohort.tiles.max():,.0f}), {options.nodes} nodes, {per_slide:.1f} s per slide\n"
    )
    slow = replace(rough, disk_tiles_per_s=options.disk_gb_per_s * 1e6 / options.tile_kb)
    print_ways(cohort, {"calm": calm, "rough": rough, "slow disk": slow}, options)
    by_shards = print_shards(cohort, rough, options)
    by_jobs = print_jobs(cohort, calm, options, per_slide)
    if options.picture:
        draw(options.picture, by_shards, by_jobs)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="an image to draw")
    for flag, value, text in (
        ("--mean-tiles", 8090.0, "tiles per slide; Prov-Path: 1,384,860,229 of 171,189 slides"),
        ("--sigma", 0.8, "deviation of their logarithm; assumed: biopsies beside resections"),
        ("--alike", 0.9, "correlation of neighbours in the list; assumed: cases, organs"),
        ("--tiles-per-s", 874.0, "of a node; measured: ViT-g, bfloat16, one H200"),
        ("--slide-s", 2.0, "of a slide apart from its tiles; assumed: opening, tissue, writing"),
        ("--start-s", 30.0, "of a process; measured: 5 s of imports; assumed: 25 s for weights"),
        ("--look-s", 0.07, "at a slide that is done; measured: `run`, its three steps"),
        ("--hand-s", 0.005, "of Ray's driver per slide; assumed"),
        ("--stale-s", 120.0, "until a claim is taken over (slidenet.stores.claims.STALE_S)"),
        ("--detect-s", 30.0, "until Ray gives up a node; assumed"),
        ("--life-h", 24.0, "mean time to failure of a node when rough; assumed: preemptible"),
        ("--repair-s", 600.0, "until a failed node is back; assumed"),
        ("--tile-kb", 75.0, "stored bytes of a tile; assumed: JPEG, 512 x 512 px at 0.25 mpp"),
        ("--disk-gb-per-s", 4.0, "of the slow disk, for all nodes; assumed"),
    ):
        parser.add_argument(flag, type=float, default=value, help=f"{text} (%(default)s)")
    return parser


def ways(
    cohort: Cohort, cluster: Cluster, options: argparse.Namespace
) -> dict[str, Callable[[], Source]]:
    """Ways to hand out the slides, by what the table calls them."""
    num, nodes, rng = len(cohort.tiles), cluster.nodes, np.random.default_rng(options.seed + 1)
    taken = {"look_s": options.look_s, "free_after_s": options.stale_s, "leaves": True}
    restarts = {"start_s": cluster.start_s, "look_s": options.look_s}
    groups = max(nodes // JOBS_PER_LIST, 1)
    return {
        "claims, one list": lambda: OneList(cohort, **taken),
        f"claims, {groups} shards with {JOBS_PER_LIST} jobs each": lambda: Groups(
            [OneList(cohort, places=part, **taken) for part in hashed_parts(num, groups, rng)]
        ),
        "a shard per node": lambda: Shards(hashed_parts(num, nodes, rng), **restarts),
        "10 shards per node": lambda: Shards(hashed_parts(num, 10 * nodes, rng), **restarts),
        "a piece of the list per node": lambda: Shards(chunks(num, nodes), **restarts),
        "10 pieces per node": lambda: Shards(chunks(num, 10 * nodes), **restarts),
        "Ray": lambda: OneList(cohort, hand_s=options.hand_s, free_after_s=options.detect_s),
    }


def print_ways(cohort: Cohort, clusters: dict[str, Cluster], options: argparse.Namespace) -> None:
    """Who hands out the slides, on each cluster."""
    print(
        "| cluster | slides are handed out by | h | of the ideal | at work | disk | starts, looks "
        "| done again | down | idle |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for kind, cluster in clusters.items():
        ideal = cluster.ideal_s(cohort)
        for way, source in ways(cohort, cluster, options).items():
            run = run_once(cohort, cluster, source(), options)
            print(
                f"| {kind} | {way} | {run.lasted_s / HOUR_S:.2f} | {run.lasted_s / ideal:.2f} |"
                f" {shares(run, cluster.nodes)} |",
                flush=True,
            )
    print()


def shares(run: Outcome, nodes: int) -> str:
    """Of the time of all nodes, as cells."""
    parts = (run.worked, run.disk, run.overhead, run.lost, run.down, run.idle)
    return " | ".join(f"{abs(100 * part / (nodes * run.lasted_s)):.1f} %" for part in parts)


def run_once(
    cohort: Cohort, cluster: Cluster, source: Source, options: argparse.Namespace
) -> Outcome:
    """One run; failures come at the same times whoever hands out the slides, as far as they can."""
    return simulate(cohort, cluster, source, np.random.default_rng(options.seed + 2))


def print_shards(
    cohort: Cohort, cluster: Cluster, options: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    """Time by number of shards and by what a start takes, as (slides per shard, of the ideal)."""
    num, curves = len(cohort.tiles), {}
    counts = [times * cluster.nodes for times in SHARDS_PER_NODE if times * cluster.nodes <= num]
    print("| a start takes | " + " | ".join(f"{count:,} shards" for count in counts) + " |")
    print("|---" * (1 + len(counts)) + "|")
    for start_s in STARTS_S:
        one, curve = replace(cluster, start_s=start_s), []
        for count in counts:
            parts = hashed_parts(num, count, np.random.default_rng(options.seed + 1))
            source = Shards(parts, start_s=start_s, look_s=options.look_s)
            run = run_once(cohort, one, source, options)
            curve.append((num / count, run.lasted_s / one.ideal_s(cohort)))
        print(f"| {start_s:g} s | " + " | ".join(f"{y:.2f}" for _, y in curve) + " |", flush=True)
        curves[f"a start takes {start_s:g} s"] = curve
    print()
    return curves


def print_jobs(
    cohort: Cohort, cluster: Cluster, options: argparse.Namespace, per_slide_s: float
) -> dict[str, list[tuple[float, float]]]:
    """Time by number of jobs on one list; returns (jobs, of the ideal) beside the rule of thumb."""
    rule = "rule: 1 + look x jobs / slide"
    curves = {"one list": [], rule: [], f"shards with {JOBS_PER_LIST} jobs each": []}
    print("| jobs | " + " | ".join(curves) + " | looks per second, one list |")
    print("|---|---|---|---|---|")
    for jobs in JOBS:
        one = replace(cluster, nodes=jobs)
        one_list, grouped, *_ = ways(cohort, one, options).values()
        run = run_once(cohort, one, one_list(), options)
        times = (
            run.lasted_s / one.ideal_s(cohort),
            1 + options.look_s * jobs / per_slide_s,
            run_once(cohort, one, grouped(), options).lasted_s / one.ideal_s(cohort),
        )
        for curve, value in zip(curves.values(), times, strict=True):
            curve.append((jobs, value))
        cells = " | ".join(f"{value:.2f}" for value in times)
        print(f"| {jobs:,} | {cells} | {run.looks / run.lasted_s:,.0f} |", flush=True)
    return curves


def draw(
    path: Path,
    by_shards: dict[str, list[tuple[float, float]]],
    by_jobs: dict[str, list[tuple[float, float]]],
) -> None:
    """Draws both sweeps side by side."""
    figure = blank_figure(10.5, 4.4)
    for axes, curves, title, label in zip(
        figure.subplots(1, 2),
        (by_shards, by_jobs),
        ("How large a shard", "How many jobs on one list"),
        ("slides per shard", "jobs"),
        strict=True,
    ):
        for number, (name, curve) in enumerate(curves.items()):
            colour, dashes = line_style(number)
            x, y = zip(*curve, strict=True)
            axes.plot(x, y, color=colour, linestyle=dashes, marker="o", markersize=4, label=name)
        axes.set(xscale="log", xlabel=label, ylabel="time, 1 = nothing lost")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylim(bottom=1.0)
        set_title(axes, title)
        style_axes(axes)
        axes.legend(frameon=False, fontsize=9, loc="best")
    save_figure(figure, path, dpi=110)


if __name__ == "__main__":
    main()
