"""The probes of scripts/benchmarks/bench_attention_quality.py ask what they say they ask."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/benchmarks/bench_attention_quality.py"


SOME = ["dense", "dilated (LongNet)"]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_attention_quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def decoded(bench, tokens):
    """Which keys each token holds (..., keys), and its value."""
    values = tokens[..., bench.NUM_KEYS : bench.NUM_KEYS + bench.NUM_VALUES]
    return tokens[..., : bench.NUM_KEYS] == 1, values.argmax(-1)


def holders(keys, key):
    return keys[:, key].nonzero().flatten()


def only(positions):
    assert len(positions) == 1
    return int(positions[0])


@pytest.mark.parametrize("distance", [4, 16, 48, 96])
def test_a_needle_is_the_only_token_with_the_key_and_lies_at_the_distance(bench, distance):
    examples = bench.needle(torch.full((8,), distance), torch.Generator().manual_seed(0))
    keys, values = decoded(bench, examples.tokens)
    for b in range(8):
        for asking, answer in zip(examples.asking[b], examples.answers[b], strict=True):
            key = only(keys[b, asking].nonzero().flatten())
            both = holders(keys[b], key)
            found = only(both[both != asking])
            assert abs(found - int(asking)) == distance
            assert values[b, found] == answer
            assert examples.tokens[b, asking, bench.ASKS] == 1


def test_two_hops_lead_to_the_answer(bench):
    examples = bench.two_hop(torch.full((8,), 48), torch.Generator().manual_seed(0))
    keys, values = decoded(bench, examples.tokens)
    for b in range(8):
        for q, asking in enumerate(examples.asking[b]):
            key = only(keys[b, asking].nonzero().flatten())
            both = holders(keys[b], key)
            link = only(both[both != asking])
            assert link == examples.links[b, q]
            assert abs(link - int(asking)) == 48
            assert examples.tokens[b, link, bench.NUM_KEYS :].sum() == 0, "a link has no value"
            linked = keys[b, link].nonzero().flatten()
            both = holders(keys[b], only(linked[linked != key]))
            last = only(both[both != link])
            assert 40 <= abs(last - link) < 48
            assert values[b, last] == examples.answers[b, q]


def test_the_class_token_counts_marks_in_the_farther_half(bench):
    examples = bench.counting(torch.full((50,), 16), torch.Generator().manual_seed(0))
    marked = examples.tokens[..., bench.MARKED]
    assert torch.equal(marked.sum(dim=1).long(), examples.answers[:, 0])
    assert examples.answers.unique().tolist() == [0, 1, 2, 3]
    assert set(marked.nonzero()[:, 1].tolist()) <= set(range(8, 17))
    assert (examples.tokens[:, 0, bench.CLASS] == 1).all()


def test_sparse_settings_attend_to_similar_shares(bench):
    shares = {label: bench.relative_cost(label) for label in bench.PATTERNS}
    assert shares.pop("dense") == 1.0
    assert all(0.2 < share < 0.32 for share in shares.values()), shares


@pytest.mark.slow
def test_the_script_runs():
    command = [sys.executable, str(SCRIPT), "--quick", "--workers", "1", "--tasks", "needle"]
    command += ["--patterns", *SOME]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    rows = done.stdout.splitlines()
    assert (
        rows[0] == "| pattern | pairs, % of dense | needle 4 | needle 16 | needle 48 | needle 96 |"
    )
    assert rows[2].startswith("| dense | 100 |")
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:-2]] == SOME
