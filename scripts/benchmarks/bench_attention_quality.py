"""What can each attention pattern recall, how far away, and at what cost?

bench_attention_quality.py [--quick] [--patterns NAME ...] [--tasks NAME ...] [--workers 2]

Trains one tiny transformer (2 layers, 4 heads, width 64, no positions) per pattern and task from a
fixed seed, on sequences of 128 tokens whose first is a class token, and prints a table in markdown:
accuracy on fresh sequences by distance, beside the attended pairs per token relative to dense.

needle    An asking token holds a key; one token at the given distance holds the same key and a
          value; every other token is a distractor with another key. Say the value.
two-hop   As needle, but the token with the asked key has no value: it holds a second key, and the
          value is on the token with that one, about as far away again. Two exact look-ups in a row;
          the first layer is trained first, and on, to know the value at the token in between.
counting  The class token says how many of the tokens at about the given distance are marked.

Every task has four answers: 25 % is chance. Distances are seen equally often in training. The
patterns are given about the same number of keys per token, so that the table compares where they
look, not how much. A pattern that cannot reach a distance within its two layers stays at chance
there; one that reaches it only through another token must squeeze the memory through that token.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from slidenet.attention import AttentionPattern, make_attention

LENGTH = 128
DISTANCES = (4, 16, 48, 96)
NUM_KEYS = 32
NUM_VALUES = 4
NUM_ASKING = 4
WIDTH = 64
NUM_HEADS = 4
NUM_LAYERS = 2
BATCH_SIZE = 32
LEARNING_RATE = 4e-3
TEST_SEQUENCES = 256
STEPS = {"needle": 400, "two-hop": 1200, "counting": 400}
HINTS_ONLY_SHARE = 0.3  # of the steps, before the second look-up is trained too
QUICK_STEPS = 3

PATTERNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense", {}),
    "sliding window": ("sliding_window", {"window": 33}),
    "dilated window": ("sliding_window", {"window": 33, "dilation": 3}),
    "strided": ("strided", {"stride": 8, "window": 17}),
    "strided, random": ("strided", {"stride": 8, "window": 17, "sampling": "random"}),
    "fixed": ("fixed", {"stride": 16, "summary_tokens": 2}),
    "longformer": ("longformer", {"window": 31, "global_tokens": (0,)}),
    "bigbird": ("bigbird", {"block_size": 4, "random_blocks": 4}),
    "topk_blocks": ("topk_blocks", {"block_size": 4, "top_k": 8}),
    "dilated (LongNet)": (
        "dilated",
        {"segment_lengths": (16, 64, 128), "dilation_rates": (1, 2, 4), "padding": "masked"},
    ),
}


@dataclass(frozen=True)
class Examples:
    """Sequences with questions.

    Attributes:
        tokens: (B, L, F), one-hot key (two where linking), one-hot value, asks, is marked, class.
        asking: Positions that answer, (B, Q).
        answers: The right answers, (B, Q), in 0 .. 3.
        links: Positions of the tokens in between, (B, Q), None without any.
    """

    tokens: Tensor
    asking: Tensor
    answers: Tensor
    links: Tensor | None = None


NUM_FEATURES = NUM_KEYS + NUM_VALUES + 3
ASKS, MARKED, CLASS = range(NUM_FEATURES - 3, NUM_FEATURES)


def needle(distances: Tensor, generator: torch.Generator) -> Examples:
    """One distance per sequence; NUM_ASKING questions in each."""
    return look_ups(distances, generator, hops=1)


def two_hop(distances: Tensor, generator: torch.Generator) -> Examples:
    """One distance per sequence for both hops; NUM_ASKING questions in each."""
    return look_ups(distances, generator, hops=2)


def look_ups(distances: Tensor, generator: torch.Generator, *, hops: int) -> Examples:
    batch, rows = len(distances), torch.arange(len(distances))[:, None]
    chain = chain_positions(distances, generator, hops=hops)  # (B, Q, hops + 1), asking first
    # Every chain uses keys of its own; the distractors use the keys that remain.
    shuffled = torch.rand(batch, NUM_KEYS, generator=generator).argsort(dim=1)
    own = shuffled[:, : NUM_ASKING * hops].view(batch, NUM_ASKING, hops)
    rest = shuffled[:, NUM_ASKING * hops :]
    keys = rest.gather(1, torch.randint(rest.shape[1], (batch, LENGTH), generator=generator))
    values = torch.randint(NUM_VALUES, (batch, LENGTH), generator=generator)
    keys[rows, chain[..., 0]] = own[..., 0]
    for hop in range(hops):
        keys[rows, chain[..., hop + 1]] = own[..., hop]
    tokens = one_hot(keys, values)
    if hops == 2:  # the token in between links two keys and has no value
        tokens[rows, chain[..., 1], own[..., 1]] = 1.0
        tokens[rows, chain[..., 1], NUM_KEYS:] = 0.0
    asking = chain[..., 0]
    tokens[rows, asking, NUM_KEYS:] = 0.0
    tokens[rows, asking, ASKS] = 1.0
    links = chain[..., 1] if hops == 2 else None
    return Examples(with_class_token(tokens), asking, values[rows, chain[..., -1]], links)


def chain_positions(distances: Tensor, generator: torch.Generator, *, hops: int) -> Tensor:
    """Asking token, needle (and second needle, 1 to 8 tokens off where it started): distinct."""
    found: list[Tensor] = []
    for distance in distances.tolist():
        while True:
            start = torch.randint(1, LENGTH - distance, (NUM_ASKING,), generator=generator)
            chain = [start, start + distance]
            if hops == 2:
                chain.append(start + torch.randint(1, 9, (NUM_ASKING,), generator=generator))
            places = torch.stack(chain, dim=1)
            if torch.rand((), generator=generator) < 0.5:
                places = LENGTH - places
            if places.unique().numel() == places.numel() and places.max() < LENGTH:
                break
        found.append(places)
    return torch.stack(found)


def counting(distances: Tensor, generator: torch.Generator) -> Examples:
    """0 to 3 marks in the farther half of each sequence's distance; the class token answers."""
    batch = len(distances)
    number = torch.randint(NUM_VALUES, (batch, 1), generator=generator)
    position = torch.arange(LENGTH)
    near_end = (position <= distances[:, None]) & (position >= distances[:, None] // 2)
    score = torch.rand(batch, LENGTH, generator=generator).masked_fill(~near_end, -1.0)
    rank = score.argsort(dim=1, descending=True).argsort(dim=1)
    tokens = one_hot(
        torch.randint(NUM_KEYS, (batch, LENGTH), generator=generator),
        torch.randint(NUM_VALUES, (batch, LENGTH), generator=generator),
    )
    tokens[..., MARKED] = (rank < number).float()
    return Examples(with_class_token(tokens), torch.zeros(batch, 1, dtype=torch.long), number)


def one_hot(keys: Tensor, values: Tensor) -> Tensor:
    tokens = torch.zeros(*keys.shape, NUM_FEATURES)
    tokens.scatter_(2, keys[..., None], 1.0)
    return tokens.scatter_(2, values[..., None] + NUM_KEYS, 1.0)


def with_class_token(tokens: Tensor) -> Tensor:
    tokens[:, 0] = 0.0
    tokens[:, 0, CLASS] = 1.0
    return tokens


Task = Callable[[Tensor, torch.Generator], Examples]
TASKS: dict[str, Task] = {"needle": needle, "two-hop": two_hop, "counting": counting}


class Block(nn.Module):
    """Pre-norm transformer block around one attention pattern."""

    def __init__(self, pattern: AttentionPattern) -> None:
        super().__init__()
        self.pattern = pattern
        self.norm_attention, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():  # equal tokens attend to each other from the start: look-ups
            self.qkv.weight[:WIDTH] = self.qkv.weight[WIDTH : 2 * WIDTH]  # are learned sooner
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, WIDTH) to the same."""
        batch, length, _ = x_BLD.shape
        qkv = self.qkv(self.norm_attention(x_BLD)).view(batch, length, 3, NUM_HEADS, -1)
        out, _ = self.pattern(*qkv.unbind(dim=2))
        x_BLD = x_BLD + self.out(out.reshape(batch, length, WIDTH))
        return x_BLD + self.mlp(self.norm_mlp(x_BLD))


class Probe(nn.Module):
    """A tiny transformer that answers at the asking positions."""

    def __init__(self, pattern: AttentionPattern) -> None:
        super().__init__()
        self.embed = nn.Linear(NUM_FEATURES, WIDTH)
        self.blocks = nn.ModuleList(Block(pattern) for _ in range(NUM_LAYERS))
        self.answer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, NUM_VALUES))
        self.hint = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, NUM_VALUES))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """The states (B, L, WIDTH) before and after each block."""
        states = [self.embed(tokens)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return states


def at(positions: Tensor, states: Tensor) -> Tensor:
    return states[torch.arange(len(states))[:, None], positions]


def loss_of(probe: Probe, examples: Examples, *, hints_only: bool) -> Tensor:
    states, answers = probe(examples.tokens), examples.answers.flatten()
    logits = probe.answer(at(examples.asking, states[-1]))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), answers)
    if examples.links is None:
        return loss
    hints = probe.hint(at(examples.links, states[1]))
    hint_loss = nn.functional.cross_entropy(hints.flatten(0, 1), answers)
    return hint_loss if hints_only else loss + hint_loss


def train_and_test(pattern_label: str, task_name: str, steps: int, seed: int) -> list[float]:
    """Accuracy at each of DISTANCES after `steps` of training."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    name, settings = PATTERNS[pattern_label]
    probe, task = Probe(make_attention(name, **settings)), TASKS[task_name]
    optimizer = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
    )
    generator = torch.Generator().manual_seed(seed)
    every = torch.tensor(DISTANCES).repeat(BATCH_SIZE // len(DISTANCES))
    for step in range(steps):
        examples = task(every, generator)
        loss = loss_of(probe, examples, hints_only=step < HINTS_ONLY_SHARE * steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    fresh = torch.Generator().manual_seed(seed + 1)
    return [accuracy(probe, task, distance, fresh) for distance in DISTANCES]


@torch.no_grad()
def accuracy(probe: Probe, task: Task, distance: int, generator: torch.Generator) -> float:
    examples = task(torch.full((TEST_SEQUENCES,), distance), generator)
    logits = probe.answer(at(examples.asking, probe(examples.tokens)[-1]))
    return (logits.argmax(dim=-1) == examples.answers).float().mean().item()


def relative_cost(label: str) -> float:
    """Attended pairs as a share of dense attention's."""
    name, settings = PATTERNS[label]
    pairs = make_attention(name, **settings).num_pairs(LENGTH, NUM_HEADS)
    return pairs / (NUM_HEADS * LENGTH**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patterns", nargs="+", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few steps: checks that it runs")
    options = parser.parse_args()
    started = time.perf_counter()
    jobs = [(label, task) for label in options.patterns for task in options.tasks]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        futures = {
            job: pool.submit(train_and_test, *job, QUICK_STEPS if options.quick else STEPS[job[1]],
                             options.seed)
            for job in jobs
        }  # fmt: skip
        results = {job: future.result() for job, future in futures.items()}
    print(table(results, options.patterns, options.tasks))
    steps = {task: QUICK_STEPS if options.quick else STEPS[task] for task in options.tasks}
    print(
        f"\nAccuracy in %, chance {100 // NUM_VALUES}; {LENGTH} tokens, {NUM_LAYERS} layers, "
        f"training steps {steps}, seed {options.seed}; "
        f"{time.perf_counter() - started:.0f} s with {options.workers} workers."
    )


def table(
    results: Mapping[tuple[str, str], list[float]], labels: Sequence[str], tasks: Sequence[str]
) -> str:
    columns = [f"{task} {distance}" for task in tasks for distance in DISTANCES]
    lines = ["| pattern | pairs, % of dense | " + " | ".join(columns) + " |"]
    lines.append("|---|" + "---:|" * (len(columns) + 1))
    for label in labels:
        cells = [f"{100 * x:.0f}" for task in tasks for x in results[label, task]]
        lines.append(f"| {label} | {100 * relative_cost(label):.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
