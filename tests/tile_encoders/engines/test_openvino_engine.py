"""OpenVINO's features are PyTorch's, whatever shares a batch or runs beside it, and in silence."""

import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from torch import nn

from slidenet.tile_encoders import InputTransform, TileEncoder, load_tile_encoder
from slidenet.tile_encoders.engines.choice import TOLERANCE, probe_images
from slidenet.tile_encoders.engines.openvino_engine import OpenVinoEngine, usable_cores
from slidenet.tile_encoders.engines.silence import openvino_is_installed

pytestmark = pytest.mark.skipif(
    not openvino_is_installed(), reason="OpenVINO has no wheel for this machine"
)

UNIT = InputTransform(16, 16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Means(nn.Module):
    """The smallest encoder there is."""

    def forward(self, images):
        return images.mean(dim=(2, 3))


def means(module=None, **keywords):
    return TileEncoder.from_module(module or Means(), name="means", transform=UNIT, **keywords)


@pytest.fixture(scope="module")
def encoder():
    """A vision transformer of two blocks, pooled over class and patches."""
    torch.manual_seed(0)
    module = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2
    )
    transform = InputTransform(32, 40)
    return TileEncoder.from_module(
        module, name="tiny", transform=transform, pooling="class_patch_mean"
    )


@pytest.fixture(scope="module")
def engine(encoder):
    return OpenVinoEngine(encoder.module, encoder.spec, num_parallel=2)


@pytest.fixture(scope="module")
def images():
    return probe_images(21, 32)


def distance(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_features_are_those_of_pytorch(encoder, engine, images):
    found = engine.run(images)
    assert found.dtype == torch.float32
    assert distance(found, encoder.engine.run(images)) <= TOLERANCE
    assert torch.equal(
        encoder.with_engine(engine).encode(images), engine.run(encoder.prepare(images))
    )


def test_bytes_depend_neither_on_the_batch_nor_on_the_place_in_it(engine, images):
    wanted = engine.run(images)
    for first, last in ((0, 1), (3, 10), (13, 21), (20, 21)):
        assert torch.equal(engine.run(images[first:last]), wanted[first:last])
    assert torch.equal(engine.run(images.flip(0)).flip(0), wanted)
    assert torch.equal(engine.run(images.contiguous()), wanted)  # another layout in memory


def test_several_threads_may_call_it(engine, images):
    wanted = engine.run(images)
    starts = [0, 8, 16, 5] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: engine.run(images[start : start + 8]), starts))
    for start, features in zip(starts, found, strict=True):
        assert torch.equal(features, wanted[start : start + 8])


def test_it_can_be_sent_to_another_process():
    encoder = means()
    engine = OpenVinoEngine(encoder.module, encoder.spec, batch_size=4, num_parallel=1)
    again = pickle.loads(pickle.dumps(engine))
    assert (again.batch_size, again.num_parallel, again.version) == (4, 1, engine.version)
    small = probe_images(3, UNIT.input_px)
    assert torch.equal(again.run(small), engine.run(small))


def test_the_engine_is_part_of_the_identity_where_it_is_not_pytorch(encoder, engine):
    assert "engine" not in encoder.identity()
    assert encoder.with_engine(engine).identity() == {**encoder.identity(), "engine": "openvino"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "vit_small_patch14_dinov2"])
def test_real_encoders_agree_with_pytorch(name):
    if name == "efficientnet_lite0":
        encoder = load_tile_encoder(name)
    else:
        torch.manual_seed(0)
        module = timm.create_model(name, img_size=224, num_classes=0)
        encoder = TileEncoder.from_module(module, name=name, pooling="class_patch_mean")
    engine = OpenVinoEngine(encoder.module, encoder.spec, batch_size=4)
    images = probe_images(4, 224)
    assert distance(engine.run(images), encoder.engine.run(images)) <= TOLERANCE


def test_as_many_batches_at_once_as_the_process_may_use_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_cores() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # per level of nesting
    assert usable_cores() >= 1


WATCHED = textwrap.dedent("""
    import os, sys, time

    seen = []

    def watch(event, args):
        wrote = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if event.startswith(("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.mkdir",
                             "urllib.", "os.spawn", "os.exec")) or wrote:
            seen.append((event, str(args[:1])))
            raise PermissionError("not here")

    silent, convert = sys.argv[1] == "silent", sys.argv[2] == "convert"
    if convert:
        import torch
        from slidenet.tile_encoders import InputTransform, TileEncoder
        from slidenet.tile_encoders.engines.openvino_engine import OpenVinoEngine

        class Means(torch.nn.Module):
            def forward(self, images):
                return images.mean(dim=(2, 3))

        spec = TileEncoder.from_module(Means(), name="m", transform=InputTransform(8, 8)).spec
        torch.export.export(Means(), (torch.zeros(1, 3, 8, 8),))  # whose caches are PyTorch's own
    from slidenet.tile_encoders.engines.silence import import_openvino

    sys.dont_write_bytecode = True
    sys.addaudithook(watch)
    if convert:
        OpenVinoEngine(Means().eval(), spec).run(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    elif silent:
        import_openvino()
    else:
        import openvino
    time.sleep(0.2)  # what it reports, it reports from threads
    print(seen)
""")


def reports(tmp_path, *how):
    """What a fresh process does beside importing OpenVINO; all of it is stopped as it begins."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, *how], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip(), sorted(home.rglob("*"))


def test_openvino_reports_nothing(tmp_path):
    assert reports(tmp_path, "silent", "import") == ("[]", [])


@pytest.mark.slow
def test_neither_does_a_conversion(tmp_path):
    assert reports(tmp_path, "silent", "convert") == ("[]", [])


@pytest.mark.slow
def test_by_itself_it_would(tmp_path):
    """Or the two tests above could not fail."""
    seen, _ = reports(tmp_path, "as installed", "import")
    assert "openvino_ga" in seen or "os.mkdir" in seen
