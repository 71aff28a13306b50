"""The simulation of a cluster agrees with what can be computed without one."""

import heapq
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts/benchmarks"


@pytest.fixture(scope="module")
def sim():
    """All names of the simulation."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        parts = [import_module(f"cluster_simulation.{n}") for n in ("engine", "model", "sources")]
    finally:
        sys.path.remove(str(BENCHMARKS))
    names = type("Simulation", (), {})
    for part in parts:
        for name, value in vars(part).items():
            setattr(names, name, staticmethod(value) if callable(value) else value)
    return names


def all_times(run):
    return run.worked + run.disk + run.lost + run.overhead + run.down + run.idle


def test_equal_slides_end_in_rounds(sim):
    cohort = sim.Cohort(np.full(23, 50.0))
    cluster = sim.Cluster(nodes=4, tiles_per_s=10, slide_s=2, start_s=3)
    run = sim.simulate(cohort, cluster, sim.OneList(cohort))
    assert run.lasted_s == pytest.approx(3 + 6 * (2 + 5))  # ceil(23 / 4) rounds
    assert run.worked == pytest.approx(23 * 7)
    assert run.overhead == pytest.approx(4 * 3)
    assert all_times(run) == pytest.approx(4 * run.lasted_s)


def test_shards_end_with_the_largest(sim):
    rng = np.random.default_rng(0)
    cohort = sim.draw_cohort(200, 1000.0, 0.8, 0.5, rng)
    parts = sim.hashed_parts(200, 8, rng)
    assert sorted(np.concatenate(parts)) == list(range(200))
    cluster = sim.Cluster(nodes=8, tiles_per_s=10, slide_s=1)
    run = sim.simulate(cohort, cluster, sim.Shards(parts, start_s=9))
    expected = max(cohort.tiles[part].sum() / 10 + len(part) for part in parts)
    assert run.lasted_s == pytest.approx(expected)

    parts = sim.chunks(200, 16)  # a second shard costs each node a start
    run = sim.simulate(cohort, cluster, sim.Shards(parts, start_s=9))
    assert run.overhead == pytest.approx(8 * 9)


def test_no_way_is_slower_than_grahams_bound(sim):
    """List scheduling lasts at most sum / n + (1 - 1 / n) times the longest."""
    cohort = sim.draw_cohort(300, 1000.0, 1.0, 0.0, np.random.default_rng(1))
    run = sim.simulate(cohort, sim.Cluster(nodes=7, tiles_per_s=1), sim.OneList(cohort))
    least = cohort.tiles.sum() / 7
    assert least <= run.lasted_s <= least + (1 - 1 / 7) * cohort.tiles.max()


@pytest.mark.parametrize(
    ("speeds", "limit", "expected"),
    [
        ([1, 2, 3], 100, [1, 2, 3]),
        ([1, 2, 3, 10], 12, [1, 2, 3, 6]),
        ([10, 1, 10, 0], 9, [4, 1, 4, 0]),
        ([5, 5], 4, [2, 2]),
    ],
)
def test_a_disk_gives_all_the_same_and_nobody_too_much(sim, speeds, limit, expected):
    assert sim.fair_share(np.array(speeds, float), limit) == pytest.approx(expected)


def test_a_slow_disk_is_the_bound(sim):
    cohort = sim.Cohort(np.full(40, 100.0))
    cluster = sim.Cluster(nodes=4, tiles_per_s=10, disk_tiles_per_s=8)
    run = sim.simulate(cohort, cluster, sim.OneList(cohort))
    assert run.lasted_s == pytest.approx(4000 / 8)
    assert run.worked == pytest.approx(400)
    assert run.disk == pytest.approx(4 * run.lasted_s - 400)


def test_looks_cost_what_the_rule_says(sim):
    """Each job looks once at every slide that others do: n - n / jobs looks per job."""
    cohort = sim.Cohort(np.full(400, 100.0))
    cluster = sim.Cluster(nodes=8, tiles_per_s=10)
    run = sim.simulate(cohort, cluster, sim.OneList(cohort, look_s=0.5))
    rounds = 400 / 8
    assert run.lasted_s == pytest.approx(rounds * 10 + (400 - rounds) * 0.5, rel=0.02)
    assert run.looks == pytest.approx(8 * (400 - rounds), rel=0.02)


def arrivals(services, rate, rng):
    return np.cumsum(rng.exponential(1 / rate, len(services)))


def first_come_first_served(released_s, services, nodes):
    """Waiting times by the free times of the nodes, without events."""
    free, waits = [0.0] * nodes, []
    for released, service in zip(released_s, services, strict=True):
        begins = max(heapq.heappop(free), released)
        waits.append(begins - released)
        heapq.heappush(free, begins + service)
    return np.array(waits)


M_D_1 = (1, 0.6, lambda rng, count: np.ones(count))
M_M_3 = (3, 2.1, lambda rng, count: rng.exponential(1.0, count))


@pytest.mark.parametrize(("nodes", "rate", "draw"), [M_D_1, M_M_3])
def test_slides_that_arrive_one_by_one_wait_for_their_turn(sim, nodes, rate, draw):
    rng = np.random.default_rng(3)
    services = draw(rng, 400)
    cohort = sim.Cohort(services, arrivals(services, rate, rng))
    run = sim.simulate(cohort, sim.Cluster(nodes=nodes, tiles_per_s=1), sim.OneList(cohort))
    expected = first_come_first_served(cohort.released_s, services, nodes)
    assert expected.max() > 1
    assert run.began_s - cohort.released_s == pytest.approx(expected)


def test_these_waits_are_those_of_queueing_theory():
    """M/D/1 (Pollaczek and Khinchine) and M/M/3 (Erlang C), at loads of 0.6 and 0.7 per node."""
    load, rho = 2.1, 0.7
    all_busy = load**3 / 6 / (1 - rho)
    erlang_c = all_busy / (1 + load + load**2 / 2 + all_busy)
    expected = 0.6 / (2 * 0.4), erlang_c / (3 * (1 - rho))
    for (nodes, rate, draw), wait in zip((M_D_1, M_M_3), expected, strict=True):
        rng = np.random.default_rng(0)
        services = draw(rng, 100_000)
        waits = first_come_first_served(arrivals(services, rate, rng), services, nodes)
        assert waits.mean() == pytest.approx(wait, rel=0.05)


@pytest.mark.parametrize("keeps_rows", [True, False])
def test_failures_cost_what_renewal_theory_says(sim, keeps_rows):
    """One node, work w, failures at rate a, repair r: w + a w r where rows are kept, else
    (exp(a w) - 1) (1 / a + r)."""
    w, a, r = 10.0, 0.05, 4.0
    cohort = sim.Cohort(np.full(500, w))
    cluster = sim.Cluster(
        nodes=1, tiles_per_s=1, node_life_s=1 / a, repair_s=r, keeps_rows=keeps_rows
    )
    run = sim.simulate(cohort, cluster, sim.OneList(cohort), np.random.default_rng(5))
    expected = w * (1 + a * r) if keeps_rows else (np.exp(a * w) - 1) * (1 / a + r)
    assert run.lasted_s / 500 == pytest.approx(expected, rel=0.08)
    assert (run.lost > 0) != keeps_rows
    assert all_times(run) == pytest.approx(run.lasted_s)


def test_what_a_failed_node_leaves_is_done_by_others_or_by_the_next_job_there(sim):
    rng = np.random.default_rng(2)
    cohort = sim.draw_cohort(120, 250.0, 0.8, 0.5, rng)
    cluster = sim.Cluster(
        nodes=6,
        tiles_per_s=10,
        start_s=5,
        slide_s=1,
        node_life_s=300,
        repair_s=60,
        slow_nodes=1,
        slow_speed=0.3,
    )
    lists = [
        sim.OneList(cohort, places=part, leaves=True) for part in sim.hashed_parts(120, 2, rng)
    ]
    for source in (
        sim.OneList(cohort, look_s=0.1, free_after_s=20, leaves=True),
        sim.OneList(cohort, hand_s=0.01, free_after_s=5),
        sim.Groups(lists),
        sim.Shards(sim.hashed_parts(120, 12, rng), start_s=5, look_s=0.1),
    ):
        run = sim.simulate(cohort, cluster, source, np.random.default_rng(7))
        assert run.failures > 3
        assert np.isfinite(run.ended_s).all()
        assert run.lasted_s >= cluster.ideal_s(cohort)
        assert all_times(run) == pytest.approx(6 * run.lasted_s)


def test_sizes_are_drawn_as_asked(sim):
    tiles = sim.draw_cohort(20_000, 8090.0, 0.8, 0.9, np.random.default_rng(0)).tiles
    logs = np.log(tiles)
    assert tiles.mean() == pytest.approx(8090, rel=0.08)
    assert logs.std() == pytest.approx(0.8, rel=0.05)
    assert np.corrcoef(logs[1:], logs[:-1])[0, 1] == pytest.approx(0.9, abs=0.02)


@pytest.mark.slow
def test_the_script_prints_its_tables_and_draws(sim, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = import_module("simulate_cluster")
    small = ["--slides=60", "--nodes=4", f"--picture={tmp_path / 'p.png'}"]
    monkeypatch.setattr(sys, "argv", ["simulate_cluster.py", *small])
    script.main()
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 1 + 3 * 7 + 1 + 3 + 1 + 5
    assert "nan" not in printed
    assert (tmp_path / "p.png").stat().st_size > 10_000
