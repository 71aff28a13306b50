"""Which maps tell the truth? All methods on slides whose lesions are known.

bench_explanations.py [--setups abmil,clam_sb,...] [--seeds 30,31,32] [--bags 12] [--beside 4]
                      [--slow-bags 12] [--out FOLDER]

Models train on cohorts of slidenet.testing with `slidenet train` and are judged on their test
slides: how well do the numbers of a map tell lesion tiles from the others of the slide? Beside
every number stands the same method on an untrained network; the row "control" knows no model. A
model that predicts badly (test AUROC of 0.9 or less) explains nothing and is left out with a word.
Means over slides, then over seeds, with the range of the seeds. Trained models and finished
judgements stay in FOLDER and are not repeated.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from explanations.judging import judge
from explanations.setups import SETUPS

from slidenet.explanation import EXPLAINERS
from slidenet.stores.atomic import write_json

GATE = 0.9
RIGHT, WRONG = ("called", "near", "far"), ("missed", "wrong")
Row = dict[str, float]
Found = dict[str, list[dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setups", default=",".join(SETUPS))
    parser.add_argument("--seeds", default="30,31,32")
    parser.add_argument("--bags", type=int, default=12, help="slides of each kind at most")
    parser.add_argument("--beside", type=int, default=4, help="of these, with untrained networks")
    parser.add_argument(
        "--slow-bags", type=int, help="where maps take long, by methods of many passes; all"
    )
    parser.add_argument("--out", type=Path, help="keeps what is trained and judged, to go on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out or Path(tempfile.mkdtemp(prefix="explanations_"))
    found: Found = {}
    for name in options.setups.split(","):
        found[name] = []
        for seed in map(int, options.seeds.split(",")):
            path = out / "judged" / f"{name}_{seed}.json"
            if not path.is_file():
                judged = judge(out, name, seed, options.bags, options.beside, options.slow_bags)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, judged)
            found[name].append(json.loads(path.read_text()))
            print(f"{name} {seed}: test AUROC {found[name][-1]['auroc']:.3f}", file=sys.stderr)
    print(f"Command: {' '.join(sys.argv)}\n")
    print_models(found)
    good = {name: [one for one in all_ if one["auroc"] > GATE] for name, all_ in found.items()}
    for title, groups, cell in TABLES:
        print_methods(title, good, groups, cell)


def print_models(found: Found) -> None:
    """What was trained, and what is said of it beside the methods."""
    print("| model | test AUROC of the seeds | slides judged (by methods of many passes) "
          "| gap of integrated gradients (steps) | occlusion - removal |")  # fmt: skip
    print("|---|---|---|---|---|")
    for name, seeds in found.items():
        aurocs = ", ".join(
            f"{one['auroc']:.3f}{'' if one['auroc'] > GATE else ' (left out)'}" for one in seeds
        )
        groups: dict[str, list[str]] = defaultdict(list)
        for one in seeds:
            for group, members in one["groups"].items():
                slow = members["slow_bags"]
                few = f" ({slow})" if slow < members["bags"] else ""
                groups[group].append(f"{members['bags']}{few}")
        slides = "; ".join(f"{group} {' + '.join(n)}" for group, n in groups.items())
        gap = max((one.get("completeness", {}).get("gap", np.nan) for one in seeds), default=np.nan)
        steps = [one["completeness"]["steps"] for one in seeds if "completeness" in one]
        passes = f"{np.median(steps):.0f}" if steps else "-"
        removal = max(one.get("removal", np.nan) for one in seeds)
        print(f"| {SETUPS[name].words} | {aurocs} | {slides} | {gap:.2%} ({passes}) "
              f"| {'-' if np.isnan(removal) else f'{removal:.1e}'} |")  # fmt: skip
    print()


def print_methods(
    title: str, found: Found, groups: tuple[str, ...], cell: Callable[[list[Row]], str]
) -> None:
    """A table: methods in rows, models and groups of slides in columns."""
    columns = [
        (name, group)
        for name, seeds in found.items()
        for group in groups
        if any(group in one["groups"] for one in seeds)
    ]
    if not columns:
        return
    heads = [SETUPS[n].words + ("" if g == "called" else f", {g}") for n, g in columns]
    print(f"{title}\n\n| method | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for method in EXPLAINERS:
        of_columns = [
            [
                one["groups"][group]["methods"][method]
                for one in found[name]
                if method in one["groups"].get(group, {}).get("methods", {})
            ]
            for name, group in columns
        ]
        if any(of_columns):
            cells = [cell(rows) if rows else "-" for rows in of_columns]
            print(f"| `{method}` | {' | '.join(cells)} |")
    print()


def found_lesions(rows: list[Row]) -> str:
    values, top = [row["auroc"] for row in rows], [row["precision"] for row in rows]
    seeds = f" [{min(values):.2f}-{max(values):.2f}]" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{seeds}, {np.mean(top):.2f}"


def mean_of(key: str) -> Callable[[list[Row]], str]:
    def cell(rows: list[Row]) -> str:
        values = [row[key] for row in rows if key in row]
        return f"{np.mean(values):.3f}" if values else "-"

    return cell


TABLES = (
    ("Called rightly: AUROC of the tiles [range of the seeds], share of lesion at the top",
     RIGHT, found_lesions),
    ("The same by the untrained network: AUROC", RIGHT, mean_of("untrained_auroc")),
    ("Ahead of random orders in deletion and insertion", RIGHT, mean_of("beats")),
    ("Called wrongly: AUROC of the tiles", WRONG, mean_of("auroc")),
)  # fmt: skip
"""Title, groups of slides, and what a cell shows. The top are as many tiles as are lesion."""


if __name__ == "__main__":
    main()
