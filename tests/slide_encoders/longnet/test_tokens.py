"""The door through which tokens are spread over devices, without any devices."""

import copy

import pytest
import torch

from slidenet.slide_encoders.longnet.request import ForwardRequest
from slidenet.slide_encoders.longnet.tokens import OneDevice, WholeSlides, at_real_tiles, spans


class Watching(OneDevice):
    """One device, and a note of what passed through."""

    def __init__(self):
        object.__setattr__(self, "placed", [])

    def place(self, features, grid_xy, mask, *, encoder, request, check):
        self.placed.append((encoder, request))
        return super().place(features, grid_xy, mask, encoder=encoder, request=request, check=check)


def test_a_model_takes_a_sharding_in_and_gives_it_back(tiny, make_inputs):
    inputs = make_inputs([40, 23])
    wanted, keys = tiny(*inputs), list(tiny.state_dict())
    watching = Watching()
    tiny.shard_tokens(watching)
    assert torch.equal(tiny(*inputs), wanted)
    tiny.states(*inputs, layers=(1,), slide_id=("a", "b"))
    tiny.pooled_states(*inputs, pooling="mean")
    assert all(encoder is tiny for encoder, _ in watching.placed)
    assert [request for _, request in watching.placed] == [
        ForwardRequest("forward", 2, pooling="class_token"),
        ForwardRequest("states", 2, layers=(1,), slide_id=("a", "b")),
        ForwardRequest("pooled_states", 2, pooling="mean"),
    ]
    assert list(tiny.state_dict()) == keys
    assert isinstance(copy.deepcopy(tiny).token_sharding, Watching)
    tiny.shard_tokens(None)
    assert torch.equal(tiny(*inputs), wanted)
    assert len(watching.placed) == 3


class Dense(WholeSlides):
    """The layout decides how a slide is attended to."""

    def attend(self, pattern, q, k, v):
        return torch.zeros_like(q)


class Blind(OneDevice):
    def place(self, features, grid_xy, mask, **settings):
        return features, grid_xy, Dense()


def test_attention_goes_through_the_layout(tiny, make_inputs):
    features, grid_xy, _ = make_inputs([30])
    tiny.shard_tokens(Blind())
    class_token = tiny.states(features, grid_xy)[2][:, 0]
    other = tiny.states(features + 1, grid_xy)[2][:, 0]
    assert torch.equal(class_token, other), "nothing reached the class token"


def test_spans_and_places_of_packed_tokens():
    assert [(s.start, s.stop) for s in spans((3, 1, 2))] == [(0, 3), (3, 4), (4, 6)]
    mask = torch.tensor([[True, False, True], [False, True, False]])
    found = at_real_tiles(torch.arange(1.0, 6)[:, None], mask)
    assert found[..., 0].tolist() == [[1, 2, 0, 3], [4, 0, 5, 0]]


@pytest.mark.parametrize("lengths", [[9], [9, 9], [9, 4]])
def test_prepending_pooling_and_unpacking_agree(tiny, make_inputs, lengths):
    features, grid_xy, mask = make_inputs(lengths)
    x, grid_xy, tokens = OneDevice().place(
        features,
        grid_xy,
        mask,
        encoder=tiny,
        request=ForwardRequest("states", 2),
        check=lambda f, g, m: g,
    )
    with_class = tokens.prepend(x, torch.full((1, 1, 32), 7.0))
    whole = tokens.unpack(with_class)
    assert (whole[:, 0] == 7).all()
    assert torch.equal(tokens.pool(with_class, "class_token"), whole[:, 0])
    real = features.nan_to_num() * mask[..., None]
    assert torch.equal(whole[:, 1:], real)
    mean = real.sum(dim=1) / mask.sum(dim=1, keepdim=True)
    torch.testing.assert_close(tokens.pool(with_class, "mean"), mean)
