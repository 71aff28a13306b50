"""`slidenet plan`: costs of a slide before anything runs."""

import re

import numpy as np
import pytest

from slidenet.attention import ATTENTION_PATTERNS, LongformerAttention, TopKBlocksAttention
from slidenet.cli.main import main
from slidenet.core.errors import AttentionError, ConfigError, StoreError, UnknownNameError
from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.pipelines.planning.plan import plan
from slidenet.stores import write_tile_set

GEOMETRY = TileGeometry(
    slide_mpp=SlideMpp(0.5, "given"),
    target_mpp=0.5,
    read_mpp=0.5,
    level=0,
    tile_size_px=256,
    stride_px=256,
    read_size_px=256,
    level0_width=40_000,
    level0_height=40_000,
)


def write_tiles(folder, slide_id, num_tiles):
    cells = np.array([(i % 100, i // 100) for i in range(num_tiles)], dtype=np.int64)
    tile_set = TileSet(
        slide_id=slide_id,
        slide_path=f"/data/{slide_id}.svs",
        fingerprint="sha256:feed",
        geometry=GEOMETRY,
        coords=cells.reshape(-1, 2) * 256,
        tissue_fraction=np.ones(num_tiles, dtype=np.float32),
        identity={"target_mpp": 0.5},
    )
    write_tile_set(folder / "tiles" / f"{slide_id}.h5", tile_set)


def test_a_million_tiles():
    found = plan(num_tiles=1_000_000)
    assert found.exit_code == 0
    dilated, dense, ring = found.lines
    assert (dilated.scheme, dense.scheme, ring.scheme) == ("dilated", "dense", "ring")
    assert found.ranks == dilated.training_ranks > dilated.encoding_ranks == 1
    assert dilated.training.memory <= 72e9
    assert ring.training.step_flops > 50 * dilated.training.step_flops
    assert ring.training.exchanged > 5 * dilated.training.exchanged
    text = found.table()
    assert "1,000,001 tokens" in text
    assert "86.3 M parameters" in text
    assert f"training step, {found.ranks} GPUs" in text


def test_recomputing_blocks_needs_fewer_ranks():
    plain, frugal = (plan(num_tiles=300_000, checkpoint_activations=x) for x in (False, True))
    assert frugal.lines[0].training_ranks < plain.lines[0].training_ranks
    assert "blocks recomputed" in frugal.table()


def test_the_largest_slide_of_a_manifest(tmp_path):
    for name, count in (("a", 30), ("b", 500), ("c", 40)):
        write_tiles(tmp_path, name, count)
    manifest = tmp_path / "slides.csv"
    rows = "".join(f"{name},/data/{name}.svs\n" for name in "abcd")
    manifest.write_text("slide_id,slide_path\n" + rows)
    text = plan(manifest, tmp_path, largest=True, sequence_ranks=2).table()
    assert "3 slides, median 40 tiles; the largest, b, has 500" in text
    assert "1 more slides have no tiles" in text
    assert "forward, 2 GPUs" in text


def test_what_never_fits_says_so():
    found = plan(num_tiles=1000, gpu_memory_gb=0.1)
    assert found.exit_code == 1
    assert "none do" in found.table()


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="neither num_tiles nor slides"):
        plan()
    with pytest.raises(ConfigError, match="num_tiles and slides"):
        plan(tmp_path, num_tiles=3)
    with pytest.raises(ConfigError, match="num_tiles is 0"):
        plan(num_tiles=0)
    with pytest.raises(ConfigError, match="gpu_memory_gb is 0"):
        plan(num_tiles=3, gpu_memory_gb=0)
    with pytest.raises(ConfigError, match="precision is 'float8'"):
        plan(num_tiles=3, precision="float8")
    with pytest.raises(ConfigError, match="sequence_ranks is 0"):
        plan(num_tiles=3, sequence_ranks=0)
    with pytest.raises(UnknownNameError, match="gigapaht"):
        plan(num_tiles=3, shape="gigapaht")
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id,slide_path\na,/data/a.svs\n")
    with pytest.raises(ConfigError, match="slides without out"):
        plan(manifest, largest=True)
    with pytest.raises(StoreError, match="holds no tiles of the 1 slides"):
        plan(manifest, tmp_path, largest=True)


def cells(found, row):
    """The columns of every row of the table that begins with these words."""
    lines = [line for line in found.table().splitlines() if line.strip().startswith(row)]
    return [re.split(r"  +", line.strip())[1:] for line in lines]


@pytest.mark.parametrize("name", ATTENTION_PATTERNS)
def test_every_pattern_has_a_column_beside_dense_and_ring(name):
    found = plan(num_tiles=2000, attention=[name])
    assert [line.scheme for line in found.lines] == list(dict.fromkeys([name, "dense", "ring"]))
    first, dense = found.lines[0], found.lines[-2]
    if name != "dense":
        assert first.encoding.step_flops < dense.encoding.step_flops
        assert first.training.memory > dense.training.memory  # layouts, or outputs of branches
    assert cells(found, "fewest GPUs") == [["1"] * len(found.lines)] * 2
    assert cells(found, "MB received") == [["0.0"] * len(found.lines)] * 2


def test_operations_are_those_of_the_attended_pairs():
    found = plan(num_tiles=3000, attention=["longformer", "topk_blocks"], window=64, top_k=2)
    longformer, chosen, dense, _ = (line.encoding.step_flops for line in found.lines)
    layers, product, tokens = 12, 2 * 48, 3001
    less = 2 * product * layers * (16 * tokens**2 - LongformerAttention(64).num_pairs(tokens, 16))
    assert dense - longformer == less
    pairs = TopKBlocksAttention(top_k=2).num_pairs(tokens, 16)
    gate = 16 * tokens * 47
    assert dense - chosen == product * layers * (2 * (16 * tokens**2 - pairs) - gate)


def test_what_does_not_run_across_gpus_says_so():
    settings = {"attention": ["dilated", "longformer"], "window": 256, "sequence_ranks": 4}
    found = plan(num_tiles=20_000, gpu_memory_gb=8, **settings)
    dilated, longformer, *_ = found.lines
    assert (dilated.encoding.num_ranks, longformer.encoding.num_ranks) == (4, 1)
    assert (longformer.encoding_ranks, longformer.training_ranks) == (1, None)
    forward, step = cells(found, "TFLOP")
    assert forward[1] == f"{longformer.encoding.step_flops / 1e12:,.1f} on 1"
    assert step[1] == "one GPU only"
    assert cells(found, "fewest GPUs")[1][1] == "none: one GPU only"
    assert "longformer: window 256; global tokens 0" in found.table()
    rows = found.to_pandas()
    assert list(rows.columns[:3]) == ["scheme", "work", "fewest_ranks"]
    assert list(rows["scheme"][:4]) == ["dilated"] * 2 + ["longformer"] * 2


def test_other_segments_than_those_of_the_shape():
    settings = {"segment_lengths": (512, 4096), "dilation_rates": (1, 8)}
    own, other = (plan(num_tiles=10_000, sequence_ranks=2, **x) for x in ({}, settings))
    assert other.lines[0].encoding.step_flops < own.lines[0].encoding.step_flops
    assert other.lines[0].encoding.exchanged < own.lines[0].encoding.exchanged
    assert "dilated: segment lengths 512, 4096; dilation rates 1, 8" in other.table()
    assert own.lines[1:] == other.lines[1:]
    assert plan(num_tiles=9, attention=["dilated"]) == plan(num_tiles=9)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean longformer"):
        plan(num_tiles=9, attention=["longformr"])
    with pytest.raises(AttentionError, match="dilated has no setting --window"):
        plan(num_tiles=9, window=3)
    with pytest.raises(AttentionError, match="none of the attention patterns dense, longformer"):
        plan(num_tiles=9, attention=["dense", "longformer"], block_size=3)
    with pytest.raises(AttentionError, match="window is 0"):
        plan(num_tiles=9, attention=["longformer"], window=0)
    with pytest.raises(ConfigError, match="longformer twice"):
        plan(num_tiles=9, attention=["longformer", "longformer"])


def test_patterns_from_the_command_line(capsys):
    flags = "--num-tiles 500 --attention bigbird,strided --block-size 32 --stride 8"
    assert main(["plan", *flags.split()]) == 0
    text = capsys.readouterr().out
    assert "bigbird: block size 32; window blocks 3" in text
    assert "strided: stride 8; window " in text
