import pickle

import pytest
import torch
from safetensors.torch import save_file

from slidenet.core.errors import MissingWeightsError, WeightsMismatchError
from slidenet.tile_encoders.architecture import build_module
from slidenet.tile_encoders.checkpoints import load_weights, unwrap
from slidenet.weights.files import digest_of_state


def load(path, spec):
    module = build_module(spec, device="meta")
    steps = load_weights(module, path, name=spec.name)
    return module, digest_of_state(module.state_dict()), steps


def test_every_container_gives_the_same_weights_and_digest(tmp_path, tiny, tiny_module, tiny_file):
    state = tiny_module.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.bin")
    wanted = digest_of_state(state)
    for path in (tiny_file, tmp_path / "a.safetensors", tmp_path / "b.bin"):
        module, digest, steps = load(path, tiny)
        assert digest == wanted
        assert steps == ("timm names",)
        for name, tensor in state.items():
            assert torch.equal(module.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("wrap", "steps"),
    [
        (lambda s: {"model": s, "epoch": 3}, ("took 'model'",)),
        (lambda s: {"state_dict": s}, ("took 'state_dict'",)),
        (lambda s: {"student": {}, "teacher": s}, ("took 'teacher'",)),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, ("stripped 'module.'",)),
        (
            lambda s: {
                "teacher": {f"module.backbone.{k}": v for k, v in s.items()}
                | {"module.dino_head.mlp.0.weight": torch.zeros(2)}
            },
            (
                "took 'teacher'",
                "stripped 'module.'",
                "stripped 'backbone.'",
                "dropped 1 tensors of training heads",
            ),
        ),
    ],
    ids=["model", "state_dict", "teacher", "module", "dino"],
)
def test_wrappers_are_looked_through_and_said(tmp_path, tiny, tiny_module, wrap, steps):
    torch.save(wrap(tiny_module.state_dict()), tmp_path / "w.pth")
    _, digest, found = load(tmp_path / "w.pth", tiny)
    assert digest == digest_of_state(tiny_module.state_dict())
    assert found == (*steps, "timm names")


def test_a_dinov2_training_checkpoint_as_gpfm_publishes_it(tmp_path, tiny, tiny_module):
    """Teacher, backbone prefix, blocks in chunks, mask token and heads at once."""
    teacher = {
        f"backbone.{k.replace('blocks.0.', 'blocks.0.0.').replace('blocks.1.', 'blocks.1.1.')}": v
        for k, v in tiny_module.state_dict().items()
    }
    teacher["backbone.mask_token"] = torch.zeros(1, 24)
    teacher["dino_head.mlp.0.weight"] = torch.zeros(2)
    torch.save({"teacher": teacher}, tmp_path / "GPFM.pth")
    _, digest, steps = load(tmp_path / "GPFM.pth", tiny)
    assert digest == digest_of_state(tiny_module.state_dict())
    assert steps[-1] == "dinov2 names"


def test_a_prefix_beside_unknown_names_stays_and_is_refused(tmp_path, tiny, tiny_module):
    state = {f"backbone.{k}": v for k, v in tiny_module.state_dict().items()}
    torch.save(state | {"decoder.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsMismatchError, match=r"unexpected \(backbone\.cls_token"):
        load(tmp_path / "w.pth", tiny)


def test_half_precision_files_load_as_float32(tmp_path, tiny, tiny_module):
    torch.save({k: v.half() for k, v in tiny_module.state_dict().items()}, tmp_path / "h.pth")
    module, _, _ = load(tmp_path / "h.pth", tiny)
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_the_classifier_of_a_timm_checkpoint_is_dropped(tmp_path, tiny, tiny_module):
    head = {"head.weight": torch.zeros(7, 24), "head.bias": torch.zeros(7)}
    torch.save(tiny_module.state_dict() | head, tmp_path / "c.pth")
    _, digest, _ = load(tmp_path / "c.pth", tiny)
    assert digest == digest_of_state(tiny_module.state_dict())


def test_wrong_weights_name_the_first_keys_that_differ(tmp_path, tiny, tiny_module):
    state = dict(tiny_module.state_dict())
    del state["cls_token"]
    state["extra.weight"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(25)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(WeightsMismatchError) as caught:
        load(tmp_path / "wrong.pth", tiny)
    message = str(caught.value)
    assert "'wrong.pth' does not belong to 'tiny'" in message
    assert "1 missing (cls_token)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 misshaped (norm.weight (25,) instead of (24,))" in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_and_foreign_files_are_refused(tmp_path, tiny, tiny_module, suffix):
    whole = tmp_path / f"whole{suffix}"
    state = tiny_module.state_dict()
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    cut, text = tmp_path / f"cut{suffix}", tmp_path / f"text{suffix}"
    cut.write_bytes(whole.read_bytes()[:2000])
    text.write_text("not weights at all")
    table = tmp_path / f"table{suffix}"
    table.write_text("slide_id,slide_path\n")  # the unpickler runs off its stack here
    for path in (cut, text, table):
        with pytest.raises(WeightsMismatchError, match=path.name):
            load(path, tiny)


def test_code_in_a_file_is_never_run(tmp_path, tiny):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "bomb.pth"
    torch.save({"model": Bomb()}, path)
    with pytest.raises(WeightsMismatchError, match="holds more than tensors"):
        load(path, tiny)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(WeightsMismatchError):
        load(path, tiny)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_said(tmp_path, tiny):
    with pytest.raises(MissingWeightsError, match="no weights file"):
        load(tmp_path / "nowhere.pth", tiny)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(2)], ids=str)
def test_contents_without_a_state_dict_are_refused(tmp_path, content):
    with pytest.raises(WeightsMismatchError):
        unwrap(content, tmp_path / "x.pth")
