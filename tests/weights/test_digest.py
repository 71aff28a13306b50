import hashlib

import torch

from slidenet.weights import digest_of_state


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
