"""The interval of a mean over seeds, for the tables of bench_bags.py and bench_positions.py."""

import statistics

from scipy import stats


def t_interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean by Student's t over the seeds; no interval for one seed."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return statistics.mean(values) - half, statistics.mean(values) + half
