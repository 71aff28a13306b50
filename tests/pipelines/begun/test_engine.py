"""An output folder has one engine, settled before its first slide."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.pipelines.begun import engine as cohort_engine
from slidenet.pipelines.begun.engine import settle_engine
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.settings import EmbedTilesSettings
from slidenet.tile_encoders import InputTransform, TileEncoder
from slidenet.tile_encoders.engines.choice import EngineChoice


class Means(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


class Openvino:
    """Stands for the other engine, which takes seconds to make."""

    name = "openvino"
    num_parallel = 1

    def __init__(self, batch_size):
        self.batch_size = batch_size
        self.version = cohort_engine.software_version("openvino")


def settle(encoder, layout, overwrite=False, **settings):
    return settle_engine(encoder, EmbedTilesSettings(**settings), layout, overwrite=overwrite)


@pytest.fixture
def encoder():
    return TileEncoder.from_module(Means(), name="means", transform=InputTransform(8, 8))


@pytest.fixture
def layout(tmp_path):
    return OutputLayout(tmp_path)


@pytest.fixture
def choices(monkeypatch):
    """Every choice that is made; "auto" is OpenVINO, in batches of 8."""
    made = []

    def choose(encoder, asked="auto", *, batch_size=None, proven=False):
        made.append((asked, batch_size, proven))
        engine = Openvino(batch_size or 8) if asked != "torch" else encoder.engine
        if asked == "torch":
            engine.batch_size = batch_size or 8
        return EngineChoice(engine, "it is faster")

    monkeypatch.setattr(cohort_engine, "choose_engine", choose)
    return made


def test_it_is_settled_once_and_followed(encoder, layout, choices):
    settled = settle(encoder, layout)
    assert settled.identity()["engine"] == "openvino"
    path = layout.root / "tile_features" / "means" / "engine.json"
    record = json.loads(path.read_text())
    assert record["engine"] == "openvino"
    assert (record["batch_size"], record["reason"]) == (8, "it is faster")
    assert record["machine"]
    before = path.read_bytes()
    assert settle(encoder, layout).engine.batch_size == 8
    assert settle(encoder, layout, engine="openvino", batch_size=16).engine.batch_size == 16
    assert choices == [("auto", None, False), ("openvino", 8, True), ("openvino", 16, True)]
    assert path.read_bytes() == before


def test_another_engine_is_refused_unless_all_is_made_anew(encoder, layout, choices):
    settle(encoder, layout)
    with pytest.raises(IdentityMismatchError, match=r"made by the engine openvino.*--overwrite"):
        settle(encoder, layout, engine="torch")
    assert settle(encoder, layout, engine="torch", overwrite=True).engine.name == "torch"
    assert settle(encoder, layout).engine.name == "torch"


@pytest.mark.parametrize("name", ["slide1.h5", ".slide1.h5.partial"])
def test_a_folder_of_version_1_goes_on_with_pytorch_in_batches_of_64(
    encoder, layout, choices, name
):
    path = layout.features("slide1", "means")
    path.parent.mkdir(parents=True)
    path.with_name(name).touch()
    settled = settle(encoder, layout)
    assert (settled.engine.name, settled.engine.batch_size) == ("torch", 64)
    assert "engine" not in settled.identity()
    assert sorted(p.name for p in path.parent.iterdir()) == [name]
    with pytest.raises(IdentityMismatchError, match="made by the engine torch"):
        settle(encoder, layout, engine="openvino")


def test_a_lost_record_is_known_from_the_features(encoder, layout, choices, monkeypatch):
    path = layout.features("slide1", "means")
    path.parent.mkdir(parents=True)
    path.with_name("broken.h5").touch()
    path.touch()

    def opened(file):
        if file != path:
            raise StoreError("broken")
        return SimpleNamespace(encoder={"engine": "openvino"})

    monkeypatch.setattr(cohort_engine, "open_features", opened)
    settled = settle(encoder, layout)
    assert (settled.engine.name, settled.engine.batch_size) == ("openvino", 8)
    assert choices == [("openvino", None, False)]
    with pytest.raises(IdentityMismatchError, match="made by the engine openvino"):
        settle(encoder, layout, engine="torch")


def test_of_two_processes_that_begin_at_once_one_is_followed(encoder, layout, choices, monkeypatch):
    path = layout.engine("means")
    path.parent.mkdir(parents=True)
    choose = cohort_engine.choose_engine

    def slowly(*args, **keywords):
        if not path.exists():  # the other one has meanwhile settled
            path.write_text(json.dumps({"engine": "torch", "batch_size": 4}))
        return choose(*args, **keywords)

    monkeypatch.setattr(cohort_engine, "choose_engine", slowly)
    settled = settle(encoder, layout)
    assert (settled.engine.name, settled.engine.batch_size) == ("torch", 4)
    assert [p.name for p in path.parent.iterdir()] == ["engine.json"]


def test_another_machine_is_told_and_proves_the_engine_again(encoder, layout, choices, caplog):
    settle(encoder, layout)
    path = layout.engine("means")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "Pentium"}))
    with caplog.at_level(logging.WARNING):
        settle(encoder, layout)
    assert "on Pentium; here it is" in caplog.text
    assert choices[-1] == ("openvino", 8, False)


def test_falling_back_is_a_warning(encoder, layout, caplog, monkeypatch):
    for fell_back, lines in ((True, 1), (False, 0)):
        chosen = EngineChoice(encoder.engine, "OpenVINO is not installed", fell_back)
        monkeypatch.setattr(cohort_engine, "choose_engine", lambda *_, c=chosen, **__: c)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            settle(encoder, layout, overwrite=True)
        assert len(caplog.records) == lines


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"engine": "onnx", "batch_size": 8}',
             '{"engine": "torch", "batch_size": 0}', '{"engine": "torch", "batch_size": "8"}',
             '{"engine": "torch"}', '{"engine": "torch", "batch_size": 8, "more": 1}'],
)  # fmt: skip
def test_a_damaged_record_is_refused(encoder, layout, text):
    path = layout.engine("means")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StoreError, match="does not say which engine"):
        settle(encoder, layout)
