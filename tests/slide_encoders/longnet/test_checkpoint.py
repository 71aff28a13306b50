import pickle

import pytest
import torch

from slidenet.core.errors import MissingWeightsError, WeightsMismatchError
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT, load_slide_encoder, save_checkpoint
from slidenet.slide_encoders.longnet.checkpoint import key_table, read_checkpoint, weights_digest


@pytest.fixture
def file(tmp_path, tiny_official):
    path = tmp_path / "slide_encoder.pth"
    torch.save({"model": tiny_official}, path)
    return path


def load(path, config):
    return load_slide_encoder("gigapath", weights=path, config=config)


def test_the_released_encoder_has_247_keys_and_86_330_880_parameters():
    with torch.device("meta"):
        net = LongNetViT(LONGNET_CONFIGS["gigapath"])
    state = net.state_dict()
    assert sum(p.numel() for p in state.values()) == 86_330_880
    table = key_table(12)
    assert len(table) == 247
    assert set(table.values()) == set(state)
    for official, shape in {
        "cls_token": (1, 1, 768),
        "patch_embed.proj.weight": (768, 1536),
        "encoder.layers.11.self_attn.inner_attn_ln.weight": (768,),
        "encoder.layers.0.self_attn_layer_norm.bias": (768,),
        "encoder.layers.3.final_layer_norm.weight": (768,),
        "encoder.layers.3.ffn.fc1.weight": (3072, 768),
        "encoder.layers.3.ffn.fc2.bias": (768,),
        "encoder.layers.3.ffn.ffn_layernorm.weight": (3072,),
        "encoder.layer_norm.weight": (768,),
        "norm.bias": (768,),
    }.items():
        assert state[table[official]].shape == shape, official


def test_round_trip_of_an_official_file(tmp_path, file, tiny_config, tiny_official):
    encoder = load(file, tiny_config)
    assert not encoder.training
    save_checkpoint(tmp_path / "again.pth", encoder.net.state_dict())
    again = read_checkpoint(tmp_path / "again.pth")
    assert again.keys() == tiny_official.keys()
    assert all(torch.equal(again[key], tiny_official[key]) for key in again)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.pth", "slide_encoder.pth"]


def test_a_renamed_key_is_refused_by_name(tmp_path, tiny_config, tiny_official):
    state = dict(tiny_official)
    state["encoder.layers.1.ffn.fc3.weight"] = state.pop("encoder.layers.1.ffn.fc1.weight")
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(
        WeightsMismatchError,
        match=r"missing key 'encoder.layers.1.ffn.fc1.weight'; "
        r"unknown key 'encoder.layers.1.ffn.fc3.weight' .*renamed",
    ):
        load(tmp_path / "x.pth", tiny_config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("cls_token"), "missing key 'cls_token'"),
        (lambda s: s.update(pos_embed=torch.zeros(1)), "unknown key 'pos_embed'"),
        (
            lambda s: s.update({"norm.weight": torch.zeros(97)}),
            r"'norm.weight' has shape \(97,\); expected \(96,\)",
        ),
        (
            lambda s: [s.pop(k) for k in list(s) if ".layers.1." in k],
            r"missing key 'encoder.layers.1.*' and 19 more",
        ),
    ],
)
def test_missing_extra_and_misshaped_keys(tmp_path, tiny_config, tiny_official, change, message):
    state = dict(tiny_official)
    change(state)
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(WeightsMismatchError, match=message):
        load(tmp_path / "x.pth", tiny_config)


def test_weights_of_another_architecture(file):
    with pytest.raises(WeightsMismatchError, match="expected the 247 keys"):
        load_slide_encoder("gigapath", weights=file)


def test_half_precision_files_are_widened(tmp_path, tiny_config, tiny_official):
    torch.save({"model": {k: v.half() for k, v in tiny_official.items()}}, tmp_path / "h.pth")
    assert load(tmp_path / "h.pth", tiny_config).net.class_token.dtype == torch.float32


class Payload:
    def __reduce__(self):
        return (print, ("code from a checkpoint",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p, s: torch.save(s, p), "no state dict under the key 'model' .found: cls_token"),
        (lambda p, s: torch.save([1, 2], p), "found: no dict"),
        (lambda p, s: p.write_bytes(b"not a checkpoint"), "cannot be read as a weights file"),
        (lambda p, s: p.write_bytes(b"slide_id,slide_path\n"), "cannot be read as a weights file"),
        (lambda p, s: p.write_bytes(b""), "cannot be read as a weights file"),
        (
            lambda p, s: p.write_bytes(pickle.dumps(Payload(), protocol=2)),
            "cannot be read as a weights file",
        ),
        (lambda p, s: torch.save({"model": Payload()}, p), "cannot be read as a weights file"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, tiny_config, tiny_official, write, message, capsys):
    write(tmp_path / "x.pth", tiny_official)
    with pytest.raises(WeightsMismatchError, match=message):
        load(tmp_path / "x.pth", tiny_config)
    assert capsys.readouterr().out == ""


def test_truncated_file(file, tiny_config):
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsMismatchError, match="cannot be read"):
        load(file, tiny_config)


def test_no_such_file(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"no weights file at .*nowhere.pth"):
        load_slide_encoder("gigapath", weights=tmp_path / "nowhere.pth")


def test_the_digest_is_of_the_values(tiny_official):
    digest = weights_digest(tiny_official)
    assert len(digest) == 16
    assert digest == weights_digest(dict(reversed(tiny_official.items())))
    changed = {k: v.clone() for k, v in tiny_official.items()}
    changed["norm.bias"][3] += 1e-6
    assert weights_digest(changed) != digest
