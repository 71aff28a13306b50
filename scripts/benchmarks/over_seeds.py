"""Flags and the interval that bench_bags.py and bench_positions.py share: studies over seeds."""

import argparse
import statistics

from scipy import stats


def parse_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The parser's own options, with --seeds, --split and --processes."""
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", choices=("val", "test"), default="test", help="what is scored")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.part:
        parser.error("--part is called --split now")
    return options


def t_interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean by Student's t over the seeds; no interval for one seed."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return statistics.mean(values) - half, statistics.mean(values) + half
