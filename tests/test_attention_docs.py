"""The two pages on attention: numbers are computed, commands run, figures drawn again."""

import re
import shlex
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from slidenet.attention import DilatedAttention, DilatedConfig, make_attention
from slidenet.attention.dilated.config import head_offsets
from slidenet.attention.dilated.steps import example_steps
from slidenet.attention.links import links_of
from slidenet.attention.reach import reach
from slidenet.cli.main import main
from slidenet.parallel.chunks import even_chunks
from slidenet.parallel.communication import dilated_bytes, ring_bytes
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.inspection.attention import describe_attention
from slidenet.pipelines.inspection.attention_table import large
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT, load_slide_encoder, save_checkpoint
from slidenet.testing import write_feature_cohort

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in ("attention", "dilated-attention")}
ATTENTION, DILATED = PAGES.values()
QUICK = ["--trainer.max_epochs=1", "--model.warmup_epochs=0"]
MOST_BYTES = 150_000
GIGAPATH = LONGNET_CONFIGS["gigapath"]


def load_script(name: str, folder: Path):
    sys.path.insert(0, str(folder))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(folder))


docs = load_script("draw_docs", ROOT / "scripts")
DRAWN = docs.drawing_commands()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


COMMANDS = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]


def says(page: str, text: str) -> bool:
    """Whether the page has the words, wherever its lines end."""
    return text in re.sub(r"\s+", " ", page)


def table(page: str, first: str) -> list[list[str]]:
    """Cells of the rows of the table whose first heading is `first`, without backticks."""
    lines = page.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |")) + 2
    rows = []
    while lines[start].startswith("|"):
        rows.append([cell.strip().strip("`") for cell in lines[start].strip("|").split("|")])
        start += 1
    return rows


def as_keywords(flags: list[str]) -> dict:
    """`--window 9 --causal` as keywords of `describe_attention`."""
    settings = {}
    while flags:
        name, *flags = flags
        name, value = name.removeprefix("--").replace("-", "_"), True
        if flags and not flags[0].startswith("--"):
            text, *flags = flags
            several = name in ("segment_lengths", "dilation_rates", "global_tokens")
            value = tuple(map(int, text.split(","))) if several else yaml.safe_load(text)
        settings[name] = value
    settings.pop("out", None)
    return settings


@cache
def described(command: str):
    """The numbers of `slidenet attention ...` as the page writes it."""
    pattern, *flags = shlex.split(command)
    return describe_attention(pattern, **as_keywords(flags)).description


def share(found) -> str:
    return f"{100 * found.cost.num_pairs / found.dense_pairs:.3g}"


def layers_until_all(found) -> str:
    layer = found.reach.every_token_layer
    return "never" if layer is None and found.reach.never_connected else str(layer)


@pytest.fixture(autouse=True)
def _growth_to_a_few_thousand_tokens(request, monkeypatch):
    if "draws" not in request.node.name:  # figures show the growth, no number here does
        monkeypatch.setattr("slidenet.attention.describe.GROWTH_ENTRIES", 10**5)


@pytest.mark.parametrize("row", table(ATTENTION, "drawing"), ids=lambda row: row[0])
def test_the_patterns_side_by_side(row):
    name, *numbers = row
    found = described(shlex.join(DRAWN[name][1:]))
    known = found.reach
    one = [str(values[0]) for values in (known.least, known.median, known.greatest)]
    assert numbers == [share(found), *one, layers_until_all(found)]


@pytest.mark.slow
@pytest.mark.parametrize("row", table(ATTENTION, "pattern"), ids=lambda row: row[0])
def test_the_patterns_at_the_size_of_a_slide(row):
    command, *numbers = row
    assert says(ATTENTION, "`slidenet attention NAME --length 10000 --heads 16`")
    name, *flags = shlex.split(command)
    settings = as_keywords(flags)
    if settings.pop("shape", None):
        settings = {key: getattr(GIGAPATH, key) for key in ("segment_lengths", "dilation_rates")}
    pattern = make_attention(name, **settings)
    percent = 100 * pattern.num_pairs(10_000, 16) / (16 * 10_000**2)
    found = reach(links_of(pattern, 10_000, 16), 1)
    assert numbers == [f"{percent:.3g}", f"{found.median[0]:,}", str(found.every_token_layer)]


def test_the_quadratic_cost():
    dense = make_attention("dense")
    assert says(ATTENTION, f"64 tokens make {dense.num_pairs(64, 1):,} pairs")
    assert (dense.num_pairs(10_000, 1), dense.num_pairs(100_000, 1)) == (100 * 10**6, 10 * 10**9)
    assert says(ATTENTION, "10,000 tokens make 100 million, 100,000 tokens make 10 billion")


def test_a_causal_window_reaches_n_times_w_less_one_and_one():
    found = described("sliding_window --window 64 --causal --length 300")
    assert found.reach.greatest[:3] == (64, 127, 190)
    assert says(ATTENTION, "With a window of 64 it is 64, 127, 190")
    assert says(ATTENTION, "sees 4,096 tokens, the second reaches 8,191, the third 12,286")
    assert [n * 4095 + 1 for n in (1, 2, 3)] == [4096, 8191, 12286]
    assert says(ATTENTION, f"Mistral's 32 layers reach {32 * 4095 + 1:,} tokens")


def test_pairs_that_no_layer_connects():
    names = ("dilated_window", "dilated_causal")
    window, causal = (described(shlex.join(DRAWN[name][1:])) for name in names)
    assert says(ATTENTION, f"Of the {window.reach.possible:,} pairs above, "
                           f"{window.reach.never_connected:,} stay unconnected")  # fmt: skip
    assert says(ATTENTION, f"leaves {causal.reach.never_connected} of {causal.reach.possible:,} "
                           "pairs unconnected")  # fmt: skip
    mask = make_attention(
        "dilated", segment_lengths=(8, 16, 64), dilation_rates=(1, 2, 4)
    ).mask(64, 4, causal=True).any(dim=0)  # fmt: skip
    assert mask[8].nonzero()[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert says(ATTENTION, "nothing brings it what token 7 knows")


def test_dense_beside_dilated_on_a_cpu():
    """The ratios are those that docs/performance.md measured, with one thread."""
    performance = (DOCS / "performance.md").read_text()
    rows = re.findall(r"\| forward vs dense SDPA \| (\d+) \| 1 \| ([\d.]+)x", performance)
    ratio = {int(tokens): float(times) for tokens, times in rows}
    assert says(
        ATTENTION, f"needs {1 / ratio[1024]:.1f} times the time of dense attention at 1,024"
    )
    assert says(ATTENTION, f"it is {ratio[4096]:.1f} times faster at 4,096, {ratio[16384]:.1f} "
                           f"times at 16,384 and {ratio[65536]:.0f} times at 65,536")  # fmt: skip
    pattern = DilatedAttention(GIGAPATH.segment_lengths, GIGAPATH.dilation_rates)
    assert pattern.num_pairs(1296, 16) >= 16 * 1296**2
    assert all(pattern.num_pairs(n, 16) < 16 * n * n for n in range(1297, 4000, 7))
    assert says(ATTENTION, "fewer pairs than dense from 1,297 tokens on")


def test_the_number_that_is_followed():
    config = DilatedConfig((4, 16), (1, 4))
    steps = example_steps(config)
    near, far = steps.branches
    assert (near.segments[2], far.offsets[3]) == ((8, 12), 3)
    assert far.kept[0, 3].tolist() == [3, 7, 11, 15]
    assert says(DILATED, "head 3 keeps the tokens 3, 7, 11 and 15")
    assert (steps.q[11, 3, 0], steps.k[3, 3, 0]) == (2.4, 2.4)
    assert far.scores[0, 3, 2, 0] == pytest.approx(5.76)
    assert far.weights[0, 3, 2].round(2).tolist() == [0.94, 0.05, 0.0, 0.01]
    assert says(DILATED, "their product is 5.76")
    assert says(DILATED, "gets 94 % of the weight")
    assert [round(b.out[11, 3, 0], 2) for b in (near, far)] == [-0.05, 0.24]
    assert [round(b.lse[11, 3], 2) for b in (near, far)] == [1.9, 5.82]
    assert says(DILATED, "It is 5.82 in the one branch and 1.90 in the other")
    assert [round(b.mixing[11, 3], 2) for b in (near, far)] == [0.02, 0.98]
    assert round(steps.out[11, 3, 0], 2) == 0.23 == round(0.02 * -0.05 + 0.98 * 0.24, 2)
    assert says(DILATED, "0.02 x -0.05 + 0.98 x 0.24 = **0.23**")


def test_the_growth_of_the_published_branches():
    pattern = DilatedAttention(GIGAPATH.segment_lengths, GIGAPATH.dilation_rates)
    segments = ", ".join(f"{w:,}" for w in GIGAPATH.segment_lengths)
    assert says(
        DILATED, re.sub(r", (?=[\d,]+$)", " and ", segments) + " tokens with rates 1, 2, 4, 8"
    )
    for tokens, pairs, dense, percent in table(DILATED, "tokens"):
        length = int(tokens.replace(",", ""))
        ours, all_pairs = pattern.num_pairs(length, 16), 16 * length**2
        assert [pairs, dense] == [large(ours), large(all_pairs)]
        assert percent == f"{100 * ours / all_pairs:.3g}"
    first, *_, last = (w / r**2 for w, r in pattern.branches)
    assert (first, last) == (1024, 4096)
    lengths = [10**6, 2**20, 3 * 2**20, 10**7, 5 * 2**20 + 1]
    per_token = [pattern.num_pairs(length, 16) / length / 16 for length in lengths]
    assert 11_000 < max(per_token) < 11_513
    assert says(DILATED, "below **11,513 pairs per token**")


def test_offsets_of_heads():
    for order, offsets, _ in table(DILATED, "`head_order`"):
        assert offsets == " ".join(map(str, head_offsets(8, 4, order)))
    for order in ("released", "paper"):
        assert sorted(set(head_offsets(4, 8, order))) == [0, 1, 2, 3]
    assert set(head_offsets(6, 4, "released")) == {0, 1, 2}
    assert set(head_offsets(6, 4, "paper")) == {0, 1, 2, 3}
    found = described(shlex.join(DRAWN["dilated"][1:]))
    assert {f"{n / 64**2:.0%}" for n in found.coverage.pairs_by_head} <= {"20%", "21%"}
    assert says(DILATED, f"at least one of them to {100 * found.coverage.united_share:.3g} %")


def test_a_head_too_few(capsys):
    (command,) = (line for line in COMMANDS if " attention " in line and "--out" not in line)
    assert main(shlex.split(command)[1:]) == 0
    (said,) = re.findall(r"`(\d+ of 64 tokens are kept by no head as query)`", DILATED)
    assert said in capsys.readouterr().out


def test_bytes_between_ranks():
    config = DilatedConfig((8, 16, 64), (1, 2, 4))
    few, many = even_chunks(64, 4), even_chunks(2**20, 8)
    assert set(dilated_bytes(few, 4, 48, config, itemsize=2).received) == {9_216}
    assert set(ring_bytes(few, 4 * 48, itemsize=2).received) == {36_864}
    assert says(DILATED, "receives 9,216 bytes per layer; dense attention, which needs every key, "
                         "moves 36,864")  # fmt: skip
    config = DilatedConfig(GIGAPATH.segment_lengths, GIGAPATH.dilation_rates)
    mean = np.mean(dilated_bytes(many, 16, 48, config, itemsize=2).received)
    ring = ring_bytes(many, 16 * 48, itemsize=2).received[0]
    assert says(DILATED, f"receives {mean / 1e6:,.1f} MB per layer on average, where dense "
                         f"attention moves {ring / 1e6:,.1f}")  # fmt: skip


def test_the_reach_of_dilated_attention():
    found = described(shlex.join(DRAWN["dilated"][1:])).reach
    assert (found.least[:2], found.greatest[:2]) == ((24, 64), (24, 64))
    assert says(DILATED, "after one layer a token knows of 24 tokens, after two of all 64")
    alone = described("dilated --segment-lengths 64 --dilation-rates 4").reach
    assert (alone.greatest, alone.every_token_layer) == ((16,) * 4, None)
    assert says(DILATED, "with (64, 4) each token meets its own 16 for ever")


@pytest.mark.slow
def test_the_reach_of_published_settings():
    mistral = described(shlex.join(DRAWN["mistral_reach"][1:])).reach
    assert mistral.greatest[:3] == (4096, 8191, 12286)
    found = described(shlex.join(DRAWN["gigapath"][1:])).reach
    assert says(DILATED, f"it is {found.least[0]:,} to {found.greatest[0]:,} after one layer")
    assert found.every_token_layer == 2


def test_the_limit_of_parity():
    panda = yaml.safe_load((ROOT / "configs/train/gigapath_panda.yaml").read_text())
    theirs = panda["model"]["network_settings"]
    published = DilatedConfig(GIGAPATH.segment_lengths, GIGAPATH.dilation_rates).official_limit
    fine_tuned = DilatedConfig(theirs["segment_lengths"], theirs["dilation_rates"]).official_limit
    assert says(DILATED, f"**beyond {published:,} tokens**, with those of the PANDA fine-tuning "
                         f"beyond {fine_tuned:,}")  # fmt: skip


def test_the_table_of_quality_has_the_patterns_of_the_script():
    script = load_script("bench_attention_quality", ROOT / "scripts" / "benchmarks")
    heading = "| pattern | pairs, % of dense | needle 4 |"
    rows = table(ATTENTION[ATTENTION.index(heading) :], "pattern")
    assert [row[0] for row in rows] == list(script.PATTERNS)
    assert [row[1] for row in rows] == [f"{100 * script.relative_cost(row[0]):.0f}" for row in rows]


@pytest.mark.parametrize("row", table(ATTENTION, "`attention`"), ids=lambda row: row[2])
def test_settings_in_yaml_and_in_python_are_the_same(row):
    name, settings, code = row
    made = make_attention(name, **yaml.safe_load(settings))
    assert made == eval(code, {"make_attention": make_attention})


def test_other_attention_on_given_weights(tmp_path):
    shape = LONGNET_CONFIGS["longnet-small"]
    save_checkpoint(tmp_path / "w.pth", LongNetViT(shape).state_dict())
    code = r'load_slide_encoder\("gigapath",\s+weights=[^,]+,\s+(.*?)\)`'
    calls = re.findall(code, ATTENTION + DILATED)
    for call in calls:
        given = eval(f"dict({call})")
        net = load_slide_encoder("longnet-small", weights=tmp_path / "w.pth", **given).net
        assert {name: getattr(net.config, name) for name in given} == given
    assert len(calls) == 2


@pytest.mark.parametrize("page", PAGES)
def test_the_python_runs(page, capsys):
    for code in blocks(page, "python"):
        exec(code, {"__name__": "docs"})
    said = capsys.readouterr().out
    words = {
        "attention": ("cpu_flash: can be used", "math: can be used"),
        "dilated-attention": ("[0.94 0.05 0.   0.01]", "0.2345 0.2345"),
    }
    assert all(word in said for word in words[page])


def test_links_lead_somewhere():
    for page in PAGES.values():
        for file, anchor in re.findall(r"\]\(([\w./-]*)#?([\w-]*)\)", page):
            target = (DOCS / file).read_text() if file else page
            headings = re.findall(r"^#+ (.*)$", target, re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert not anchor or anchor in slugs, (file, anchor)


def test_no_sentence_stands_on_both_pages():
    both = []
    for page in PAGES.values():
        prose = re.sub(r"```.*?```|<img[^>]*>|^\|.*$", "", page, flags=re.DOTALL | re.MULTILINE)
        sentences = re.split(r"(?<=[.:!?])\s", re.sub(r"\s+", " ", prose))
        both.append({sentence for sentence in sentences if len(sentence) > 40})
    assert not both[0] & both[1]


def test_every_figure_has_its_command_and_is_small():
    shown = docs.shown_figures()
    assert {figure.split("/")[0] for figure in shown} == set(DRAWN)
    files = {str(path.relative_to(docs.FIGURES)): path for path in docs.FIGURES.rglob("*.*")}
    assert sorted(files) == shown
    assert all(path.stat().st_size <= MOST_BYTES for path in files.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_the_command_draws_the_figure(name, tmp_path):
    docs.draw(name, tmp_path)
    for path in tmp_path.rglob("*.*"):
        there = docs.FIGURES / path.relative_to(tmp_path)
        if path.suffix == ".svg":
            assert path.read_bytes() == there.read_bytes(), "then run scripts/draw_docs.py"
        else:
            new, old = (np.asarray(Image.open(file).convert("RGB")) for file in (path, there))
            assert new.shape == old.shape
            assert np.mean(new != old) < 0.01, "then run scripts/draw_docs.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all that the commands name."""
    folder = tmp_path_factory.mktemp("attention")
    (folder / "configs").symlink_to(ROOT / "configs")
    (longformer,) = blocks("attention", "yaml")
    (folder / "longformer.yaml").write_text(longformer)
    made = write_feature_cohort(folder / "made", num_patients=24, num_tiles=36, feature_dim=16)
    features = OutputLayout(folder / "out").features("any", "efficientnet_lite0").parent
    features.parent.mkdir(parents=True)
    made.features.rename(features)
    made.labels.rename(folder / "slides.csv")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if " train " in line])
def test_the_training_has_the_pattern(command, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main([*shlex.split(command)[1:], *QUICK, "--out", str(tmp_path)]) == 0
    plan = (tmp_path / "plan.json").read_text()
    if "segment-lengths" in command:
        assert '"segment_lengths":[256,1024,4096]' in plan
    else:
        assert '"attention":"longformer"' in plan
        assert '"global_tokens":[0,40],"window":129' in plan
    assert "trained longnet on bags" in capsys.readouterr().out


def test_every_command_is_known():
    """Those of `attention` with --out are run by the figures' test, the others by their own."""
    drawing = {f"slidenet {shlex.join(arguments)}" for arguments in DRAWN.values()}
    others = [line for line in COMMANDS if line not in drawing]
    assert sorted(line.split()[1] for line in others) == ["attention", "train", "train", "train"]
