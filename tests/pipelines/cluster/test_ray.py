"""A cluster of this machine alone: private, and its workers make the bytes of one process.

Ray is started once, with a GPU that is none. `scripts/check_ray.py` has two nodes and kills one.
"""

import os
import shutil
from pathlib import Path

import pytest

from slidenet.core.errors import ConfigError
from slidenet.data import TileStream
from slidenet.pipelines.cluster import joining
from slidenet.pipelines.cluster.runner import RayRunner
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.slides import rows_of
from slidenet.pipelines.embed_tiles import EmbedTilesWork, embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings
from slidenet.testing import write_synthetic_slide
from slidenet.tile_encoders import TileEncoder

ENCODER = """
import logging
import torch

class Moments(torch.nn.Module):
    def forward(self, images):
        logging.getLogger("slidenet.test").warning("moments of %d", len(images))
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)
"""


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2, "GPU": 1}')
        patch.delenv("RAY_AUTH_MODE", raising=False)
        try:
            yield joining.join(None)
        finally:
            joining.leave()
            for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
                os.environ.pop(name, None)


def listening_at():
    """Addresses that processes of this user listen at, by process id."""
    sockets = {}
    for table, size in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1][:size]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {os.readlink(link) for link in (process / "fd").iterdir()}
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        for link in links & set(sockets):
            yield command, sockets[link]


@pytest.mark.slow
def test_a_cluster_of_this_machine_and_the_bytes_of_one_process(ray, tmp_path, monkeypatch, caplog):
    # Private: on the loopback address, with a token, without dashboard and reports of usage.
    folder = joining._joined.folder
    addresses = {address for command, address in listening_at() if folder.encode() in command}
    assert addresses
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}, addresses
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    with pytest.raises(ConfigError, match="one cluster in a process"):
        joining.join("127.0.0.1:6379")

    (tmp_path / "ray_encoder.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    import ray_encoder

    encoder = TileEncoder.from_module(ray_encoder.Moments(), name="moments")
    paths = [tmp_path / f"{name}.tiff" for name in "abc"]
    for seed, path in enumerate(paths):
        write_synthetic_slide(path, 1024, 1024, 0.5, seed=seed)
    outs = [tmp_path / name for name in ("one", "workers", "apart")]
    preprocess(paths, outs[0], tile_size_px=64)
    for out in outs[1:]:
        shutil.copytree(outs[0], out)
    # In this process; by workers that do both; by a worker that feeds an encoder on the "GPU".
    reports = [embed_tiles(paths, outs[0], tile_encoder=encoder)]
    caplog.clear()
    fleet = FleetSettings(runner="ray", worker_cores=2)
    reports.append(embed_tiles(paths, outs[1], tile_encoder=encoder, fleet=fleet))
    assert "moments of 8" in caplog.text
    assert "the cluster has GPUs, and this run uses none" in caplog.text
    settings = EmbedTilesSettings()
    with TileStream(encoder, encoder.engine.batch_size) as stream:
        work = EmbedTilesWork(OutputLayout(outs[2]), stream, settings)
        with RayRunner(work, cores=1, apart=True) as runner:
            reports.append(run_cohort("embed-tiles", rows_of(paths), work, runner=runner))
            assert len(runner._encoders.actors) == 1
    files = []
    for out, report in zip(outs, reports, strict=True):
        assert [o.status for o in report.outcomes] == ["done"] * 3, report.table()
        files.append([path.read_bytes() for path in sorted(out.glob("tile_features/*/*.h5"))])
    assert len(files[0]) == 3
    assert files[0] == files[1] == files[2]
    assert not list(tmp_path.rglob("*.claim"))
