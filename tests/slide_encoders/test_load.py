import subprocess
import sys
from unittest.mock import MagicMock

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from slidenet.attention import DilatedAttention, SlidingWindowAttention, StridedAttention
from slidenet.core.errors import ConfigError, EncoderError, MissingWeightsError, UnknownNameError
from slidenet.slide_encoders import LONGNET_CONFIGS, list_slide_encoders, load_slide_encoder


@pytest.fixture
def file(tmp_path, tiny_official):
    path = tmp_path / "slide_encoder.pth"
    torch.save({"model": tiny_official}, path)
    return path


@pytest.fixture
def hub(monkeypatch):
    """Replaces the hub: set `hub.answer` to a path or to an error to raise."""

    class Hub:
        answer = None
        asked = None

    def download(repository, name, *, revision):
        Hub.asked = (repository, name, revision)
        if isinstance(Hub.answer, Exception):
            raise Hub.answer
        return str(Hub.answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return Hub


def test_names():
    assert list_slide_encoders() == [
        "gigapath",
        "longnet-12l1536d",
        "longnet-24l1024d",
        "longnet-small",
        "mean",
        "mean_std",
    ]


def test_unknown_names_propose_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean gigapath"):
        load_slide_encoder("gigpath")
    with pytest.raises(UnknownNameError, match="did you mean trident"):
        load_slide_encoder("gigapath", recipe="tridnet")


def test_weights_of_the_hub(hub, file, tiny_config):
    hub.answer = file
    encoder = load_slide_encoder("gigapath", config=tiny_config)
    assert hub.asked == ("prov-gigapath/prov-gigapath", "slide_encoder.pth", "main")
    assert encoder.embedding_dim == 96


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("offline"), r"out of reach \(offline\)"),
        (OSError("no route"), r"not be fetched.*\(no route\).*--slide-weights.*need no weights"),
        (errors.OfflineModeIsEnabled("offline mode"), r"out of reach \(offline mode\)"),
    ],
)
def test_missing_weights_are_never_made_up(hub, error, message):
    hub.answer = error
    with pytest.raises(MissingWeightsError, match=message):
        load_slide_encoder("gigapath")


def test_gated_weights(hub):
    hub.answer = errors.GatedRepoError("gated", response=MagicMock())
    with pytest.raises(MissingWeightsError, match=r"does not give access.*hf auth login"):
        load_slide_encoder("gigapath")


def test_shapes_without_published_weights():
    with pytest.raises(MissingWeightsError, match="none are published"):
        load_slide_encoder("longnet-24l1024d")


def test_overrides(file, tiny_config):
    encoder = load_slide_encoder("gigapath", weights=file, config=tiny_config, grid_size=80)
    assert encoder.net.config.grid_size == 80
    with pytest.raises(ConfigError, match="unknown slide encoder setting grid_sise"):
        load_slide_encoder("gigapath", weights=file, config=tiny_config, grid_sise=80)


def test_identity(file, tiny_config):
    encoder = load_slide_encoder("gigapath", weights=file, config=tiny_config)
    identity = encoder.identity()
    assert identity == {
        "name": "gigapath",
        "weights": identity["weights"],
        "recipe": {
            "name": "gigapath",
            "version": 1,
            "pooling": "mean",
            "state": "last",
            "frame": "physical",
            "precision": "float32",
        },
        "precision": "float32",
        "attention": "dilated",
        "attention_settings": {"segment_lengths": [8, 16, 32], "dilation_rates": [1, 2, 4]},
    }
    half = load_slide_encoder("gigapath", weights=file, config=tiny_config, precision="float16")
    assert half.identity()["weights"] == identity["weights"]
    assert half.identity()["precision"] == "float16"
    window = load_slide_encoder(
        "gigapath", weights=file, config=tiny_config, attention="sliding_window"
    )
    assert window.identity()["attention_settings"] == {"window_rule": "keys"}
    # A pattern given as an object is recorded as what it is.
    for pattern, settings in (
        (SlidingWindowAttention(), {"window_rule": "keys"}),
        (StridedAttention(stride=5), {"stride": 5, "window_rule": "keys"}),
        (
            DilatedAttention((8, 16), (1, 2)),
            {"segment_lengths": [8, 16], "dilation_rates": [1, 2]},
        ),
    ):
        encoder = load_slide_encoder(
            "gigapath", weights=file, config=tiny_config, attention=pattern
        )
        assert encoder.identity()["attention"] == pattern.name
        assert encoder.identity()["attention_settings"] == settings


def test_loading_allocates_the_weights_once(file, tiny_config):
    encoder = load_slide_encoder("gigapath", weights=file, config=tiny_config)
    tensors = [*encoder.parameters(), *encoder.buffers()]
    assert {t.device.type for t in tensors} == {"cpu"}
    assert all(p.requires_grad for p in encoder.parameters())


def test_states_and_embedding(file, tiny_config, make_inputs):
    encoder = load_slide_encoder("gigapath", weights=file, config=tiny_config)
    features, grid_xy, mask = make_inputs([40, 23])
    states = encoder.states(features, grid_xy, mask)
    assert [tuple(s.shape) for s in states] == [(2, 41, 96)] * 3
    assert not states[2][1, 24:].any()
    pooled = torch.stack([states[-1][0, 1:41].mean(0), states[-1][1, 1:24].mean(0)])
    torch.testing.assert_close(encoder(features, grid_xy, mask), encoder.net.norm(pooled))


def test_nan_features(file, tiny_config, make_inputs):
    encoder = load_slide_encoder("gigapath", weights=file, config=tiny_config)
    features, grid_xy, _ = make_inputs([9])
    features[0, 4, 2] = float("nan")
    with pytest.raises(EncoderError, match=r"1 tiles have NaN or infinite features .first: tile 4"):
        encoder(features, grid_xy)


BUILD = """
import resource, sys, time
from slidenet.slide_encoders import load_slide_encoder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
load_slide_encoder("gigapath", weights=sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - start, (after - before) / 1e6)
"""


@pytest.mark.slow
def test_building_the_full_encoder_takes_a_second_and_a_gigabyte(tmp_path, make_official):
    path = tmp_path / "slide_encoder.pth"
    torch.save({"model": make_official(LONGNET_CONFIGS["gigapath"], seed=1)}, path)
    command = [sys.executable, "-c", BUILD, str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu_seconds, gigabytes = (float(x) for x in printed.split())
    assert gigabytes < 1.0
    assert cpu_seconds < 1.0
