"""`slidenet plan`: costs of a slide before anything runs."""

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, StoreError, UnknownNameError
from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.pipelines.inspection.plan import plan
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
    text = plan(manifest, tmp_path, sequence_ranks=2).table()
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
        plan(manifest)
    with pytest.raises(StoreError, match="holds no tiles of the 1 slides"):
        plan(manifest, tmp_path)
