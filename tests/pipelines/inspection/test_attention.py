"""`slidenet attention`: an attention pattern in numbers and figures."""

import inspect
import json
from dataclasses import fields

import pytest

from slidenet.attention import ATTENTION_PATTERNS, DilatedConfig
from slidenet.attention.links import links_of
from slidenet.cli.main import main
from slidenet.core.errors import (
    AttentionError,
    ConfigError,
    OutputError,
    ParallelError,
    UnknownNameError,
)
from slidenet.parallel.chunks import even_chunks
from slidenet.parallel.communication import dilated_bytes
from slidenet.pipelines.inspection.attention import describe_attention
from slidenet.pipelines.inspection.attention_figures import FIGURES, SUFFIXES
from slidenet.pipelines.inspection.attention_table import share_text
from slidenet.pipelines.inspection.pattern_settings import PatternSettings, make_pattern

BRANCHES = {"segment_lengths": (16, 64), "dilation_rates": (1, 4)}


class Near:
    """A plug-in with a setting of its own."""

    name = "near"

    def __init__(self, width: int = 2) -> None:
        self.width = width

    def mask(self, length, num_heads, *, causal=False):
        import torch

        position = torch.arange(length)
        near = (position[:, None] - position).abs() < self.width
        return (near.tril() if causal else near)[None]

    def num_pairs(self, length, num_heads, *, causal=False):
        return num_heads * int(self.mask(length, 1, causal=causal).sum())

    def __call__(self, q, k, v, *, mask=None, causal=False):
        raise NotImplementedError


def test_every_setting_of_every_pattern_has_its_flag():
    flags = {field.name for field in fields(PatternSettings)}
    for name in ATTENTION_PATTERNS:
        assert set(inspect.signature(ATTENTION_PATTERNS[name]).parameters) <= flags, name


@pytest.mark.parametrize("name", ATTENTION_PATTERNS)
@pytest.mark.parametrize("causal", [False, True])
def test_every_pattern_has_a_table(name, causal):
    further = BRANCHES if name == "dilated" else {}
    found = describe_attention(name, length=30, causal=causal, ranks=3, layers=2, **further)
    text = found.table()
    assert found.exit_code == 0
    assert text.startswith(f"{name}: ")
    assert "30 tokens, 4 heads of 48 features" in text
    assert ("only dilated attention" in text) == (name != "dilated")
    assert len(found.to_pandas()) == 2
    assert json.loads(found.to_json())["pattern"] == name


def test_a_window_reaches_as_far_as_its_layers(capsys):
    assert main(["attention", "sliding_window", "--length", "100", "--window", "9"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    reached = {row[0]: row[1:4] for row in rows if row and row[0].isdigit() and len(row) > 4}
    assert reached["1"] == ["5", "9", "9"]
    assert reached["4"] == ["17", "33", "33"]


def test_ranks_fetch_what_the_exchange_counts():
    found = describe_attention("dilated", ranks=3, causal=True, heads=5, **BRANCHES)
    config = DilatedConfig(**BRANCHES)
    chunks = even_chunks(64, 3)
    assert found.ranks.received_bytes == dilated_bytes(chunks, 5, 48, config, causal=True).received
    assert found.ranks.bounds == chunks.bounds
    assert found.ranks.ring_bytes == tuple(4 * 48 * 5 * (64 - chunks.size(p)) for p in range(3))
    dense = describe_attention("dense", ranks=3, heads=5)
    assert dense.ranks.received_bytes == dense.ranks.ring_bytes


def test_fetched_entries_of_dilated_attention_are_those_that_travel():
    from slidenet.attention.coverage import fetched_entries

    pattern = make_pattern("dilated", PatternSettings(segment_lengths=[7, 40, 60],
                                                      dilation_rates=[1, 3, 4]))  # fmt: skip
    for length, ranks, heads, causal in ((50, 3, 4, False), (64, 5, 6, True), (9, 2, 1, False)):
        chunks = even_chunks(length, ranks)
        links = links_of(pattern, length, heads, causal=causal)
        want = dilated_bytes(chunks, heads, 1, pattern, itemsize=1, causal=causal).received
        assert tuple(2 * n for n in fetched_entries(links, chunks.bounds)) == want


def test_the_published_shape():
    found = describe_attention("dilated", shape="gigapath", length=4_100, layers=2)
    assert found.description.num_heads == 16
    assert found.description.reach.num_tokens == 64
    assert found.description.reach.every_token_layer == 2
    assert "64 tokens spread over the sequence" in found.table()
    with pytest.raises(ConfigError, match="a shape of another pattern"):
        describe_attention("dense", shape="gigapath")
    with pytest.raises(ConfigError, match="a shape with segments or rates"):
        describe_attention("dilated", shape="gigapath", segment_lengths=(4,))
    with pytest.raises(UnknownNameError, match="did you mean gigapath"):
        describe_attention("dilated", shape="gigapaht")


def test_a_plug_in_and_its_settings():
    found = describe_attention(f"{__name__}.Near", settings={"width": 3}, length=20)
    assert found.description.settings == {"width": 3}
    assert found.description.reach.greatest == (5, 9, 13, 17)
    with pytest.raises(AttentionError, match=r"no setting depth \(in --settings\); .*width"):
        describe_attention(f"{__name__}.Near", settings={"depth": 3})


@pytest.mark.slow
def test_every_figure_is_the_same_each_time(tmp_path):
    further = {"length": 16, "segment_lengths": (4, 16), "dilation_rates": (1, 4), "layers": 2}
    found = describe_attention("dilated", tmp_path / "a", ranks=2, **further)
    describe_attention("dilated", tmp_path / "b", ranks=2, **further)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in found.files)
    assert names == sorted(["attention.json", *(f"{n}{s}" for n in FIGURES for s in SUFFIXES)])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("name", ATTENTION_PATTERNS)
def test_very_short_sequences_and_cost_alone(name):
    further = BRANCHES if name == "dilated" else {}
    one = describe_attention(name, length=1, heads=1, ranks=1, **further)
    assert one.description.reach.every_token_layer == 1
    assert one.ranks.local_share == 1
    costs = describe_attention(name, length=5, layers=0, ranks=2, causal=True, **further)
    assert "Reach" not in costs.table()
    assert len(costs.to_pandas()) == 0


def test_numbers_are_written_and_no_figure_of_before_is_left_over(tmp_path):
    for name in ("branches.png", "notes.png"):
        (tmp_path / name).write_bytes(b"of before")
    (tmp_path / "attention.json").write_text('{"format": "slidenet.attention"}')
    found = describe_attention("dense", tmp_path, length=16, layers=0)
    assert {path.name for path in tmp_path.iterdir()} == {
        "attention.json", "growth.png", "growth.svg", "matrix.png", "matrix.svg", "notes.png"
    }  # fmt: skip
    content = json.loads((tmp_path / "attention.json").read_text())
    assert (content["format"], content["version"]) == ("slidenet.attention", 1)
    assert content == json.loads(found.to_json())
    assert found.table().endswith("attention.json and 4 figures beside it")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sparse"], "unknown attention pattern"),
        (["dense", "--window", "9"], "dense has no setting --window; expected its own settings: n"),
        (["bigbird", "--top-k", "9"], "--block-size, --window-blocks, --global-blocks, --random-"),
        (["dilated"], "--segment-lengths 16,64 --dilation-rates 1,4"),
        (["dilated", "--segment-lengths", "2", "--dilation-rates", "4"], "shorter than its dila"),
        (["dense", "--length", "3", "--ranks", "4"], "4 sequence ranks for 3 tokens"),
        (["longformer", "--global-tokens", "0,64"], "global token 64 of 64 tokens; expected pos"),
        (["dense", "--length", "0"], "length is 0"),
        (["dense", "--heads", "0"], "heads is 0"),
    ],
)
def test_wrong_commands(arguments, words, capsys):
    assert main(["attention", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "arguments are required: pattern."),
        (["dense", "--settings", "{a:1}"], "--settings is '{a:1}'; expected a mapping such as"),
        (["dense", "--length", "6.5"], "--length is '6.5'; expected a whole number"),
    ],
)
def test_commands_that_cannot_be_read(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["attention", *arguments])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_refusals_name_the_remedy():
    with pytest.raises(AttentionError, match="in --settings; expected one of them"):
        describe_attention("sliding_window", window=3, settings={"window": 3})
    with pytest.raises(AttentionError, match="legacy_readback with a causal call"):
        describe_attention("dilated", causal=True, legacy_readback=True, **BRANCHES)
    with pytest.raises(UnknownNameError, match="windows"):
        describe_attention("sliding_window", windows=3)
    with pytest.raises(ParallelError, match="5 sequence ranks"):
        describe_attention("dense", length=4, ranks=5)


def test_a_share_below_all_is_never_told_as_all():
    assert [share_text(x) for x in (0.3333, 0.99949, 0.99951, 0.9999999, 1, 1.3333)] == [
        "33.3 %",
        "99.9 %",
        "99.95 %",
        "99.99999 %",
        "100 %",
        "133 %",
    ]


def test_growth_says_where_it_ends():
    settings = {"block_size": 1, "random_blocks": 300}
    some = describe_attention("bigbird", length=10, layers=0, **settings).table()
    assert some.endswith("longer sequences are left out: counting may take too long")
    assert "left out" not in describe_attention("bigbird", length=10, layers=0).table()


def test_another_file_of_the_name_is_not_overwritten(tmp_path):
    (tmp_path / "attention.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="no report of slidenet attention"):
        describe_attention("dense", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["attention.json"]


def test_a_flag_that_may_be_left_open_needs_no_value(capsys):
    flags = [
        "--segment-lengths",
        "16",
        "--dilation-rates",
        "1",
        "--legacy-readback",
        "--layers",
        "0",
    ]
    assert main(["attention", "dilated", *flags]) == 0
    assert "legacy readback yes" in capsys.readouterr().out
