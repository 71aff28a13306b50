import hashlib
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from slidenet.core.errors import MissingWeightsError, StoreError, WeightsMismatchError
from slidenet.weights import digest_of_state, read_tensor_file


@pytest.fixture
def state():
    return {"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}


def read(path):
    return read_tensor_file(path, what="weights file")


def write_old(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [torch.save, write_old, save_file])
@pytest.mark.parametrize("name", ["a.pth", "b.bin", "c"])
def test_the_content_decides_how_a_file_is_read(tmp_path, state, write, name):
    path = tmp_path / name
    write(state, path)
    found = read(str(path))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[k], state[k]) for k in state)


def test_what_was_saved_is_returned_as_it_is(tmp_path):
    torch.save({"epoch": 3, "model": [torch.zeros(1), "text"]}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt") == {"epoch": 3, "model": [torch.zeros(1), "text"]}


class Payload:
    def __reduce__(self):
        return (print, ("code from a file",))


def write_script(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: torch.save({"a": Payload()}, p), r"more than tensors \(print\).*state_dict"),
        (lambda p: write_old({"a": Payload()}, p), r"more than tensors \(print\).*state_dict"),
        (lambda p: p.write_bytes(pickle.dumps(Payload(), 2)), r"more than tensors"),
        (write_script, "TorchScript archive, which holds code.*state_dict"),
        (lambda p: p.write_bytes(LFS), "pointer of Git LFS.*git lfs pull"),
        (lambda p: p.write_text("<!DOCTYPE html>"), "a web page.*signed in"),
        (lambda p: p.write_bytes(b""), "is empty.*copy, download"),
        (lambda p: p.write_text("slide_id,slide_path\n"), "no file of tensors"),
        (lambda p: p.write_text("not weights at all"), "no file of tensors"),
        (lambda p: p.write_bytes(b"PK\3\4 no zip"), "cut short"),
        (lambda p: p.write_bytes(b"\xff" * 7 + b"\0{}"), "cannot be read"),
    ],
    ids=[
        *("code", "code, old format", "pickled code", "script", "lfs", "page", "empty"),
        *("table", "text", "broken zip", "long header"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_files_of_something_else(tmp_path, write, message, capsys):
    path = tmp_path / "w.pth"
    write(path)
    with pytest.raises(WeightsMismatchError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a weights file: ")
    assert "expected a file written by torch.save or safetensors" in str(caught.value)
    assert "code from a file" not in capsys.readouterr().out


@pytest.mark.parametrize("write", [torch.save, write_old, save_file])
def test_cut_files(tmp_path, state, write):
    path = tmp_path / "w.bin"
    write(state, path)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            WeightsMismatchError, match=r"w\.bin cannot be read.*To fix: copy, down"
        ):
            read(path)


@pytest.mark.filterwarnings("ignore:.*pickle protocol")
@pytest.mark.parametrize("write", [torch.save, write_old, save_file])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, state, write):
    path = tmp_path / "w.bin"
    write(state, path)
    whole = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except WeightsMismatchError:
            refused += 1
    assert refused > 20


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(MissingWeightsError, match=f"no weights file at {path}"):
            read(path)


def test_a_room_raises_its_own_errors(tmp_path):
    def mine(path):
        return read_tensor_file(
            path, what="tensor", error=StoreError, missing=StoreError, remedy="make it again"
        )

    with pytest.raises(StoreError, match="no tensor at"):
        mine(tmp_path / "none.pt")
    (tmp_path / "a.pt").write_text("no")
    with pytest.raises(StoreError, match=r"a\.pt cannot be read as a tensor.*fix: make it again"):
        mine(tmp_path / "a.pt")


def test_digest_sees_names_shapes_types_and_every_value():
    base = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    same = {"n": torch.tensor(3), "a": torch.arange(6.0).reshape(2, 3)}
    assert digest_of_state(base) == digest_of_state(same)
    changed = [
        {"b": base["a"], "n": base["n"]},
        {"a": base["a"].reshape(3, 2), "n": base["n"]},
        {"a": base["a"].double(), "n": base["n"]},
        {"a": base["a"] + torch.tensor([0, 0, 1e-6]), "n": base["n"]},
        {"a": base["a"], "n": torch.tensor(4)},
    ]
    assert len({digest_of_state(s) for s in [base, *changed]}) == 6
    assert digest_of_state({"h": torch.ones(2, dtype=torch.bfloat16)})


def test_digest_is_the_documented_sum():
    state = {"b": torch.tensor([1.5, 2.0]), "a": torch.tensor(3, dtype=torch.int64)}
    for separator in ("\n", ";"):
        text = f"a torch.int64 (){separator}".encode() + (3).to_bytes(8, "little")
        text += f"b torch.float32 (2,){separator}".encode() + state["b"].numpy().tobytes()
        wanted = hashlib.sha256(text).hexdigest()
        assert digest_of_state(state, separator=separator) == wanted


def test_digest_of_views_and_transposes_is_of_their_values():
    values = torch.arange(6.0).reshape(2, 3)
    assert digest_of_state({"a": values.T}) == digest_of_state({"a": values.T.contiguous()})
