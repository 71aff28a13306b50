"""What ranks run in the tests of models: two optimisation steps, embeddings, random draws."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slidenet.parallel import (
    apply_sequence_parallel,
    make_mesh,
    release_sequence_parallel,
    sync_gradients,
    tile_span,
)
from slidenet.parallel.chunks import chunks_of
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.request import ForwardRequest

SHAPE = {
    "feature_dim": 12,
    "embed_dim": 16,
    "depth": 3,
    "num_heads": 4,
    "ffn_dim": 24,
    "segment_lengths": (4, 11, 64),
    "dilation_rates": (1, 2, 3),
    "grid_size": 50,
    "dropout": 0.0,
    "drop_path": 0.0,
}
COUNTS = (37, 23)


class Classifier(nn.Module):
    """A slide encoder with a head, which every rank computes whole."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder = LongNetViT(**(SHAPE | settings), chunk_tokens=7)
        self.head = nn.Linear(SHAPE["embed_dim"], 3)

    def forward(self, features, grid_xy, mask=None):
        return self.head(self.encoder(features, grid_xy, mask))


def slides(equal=False):
    """Two slides, padded to one length; features, cells, mask, targets."""
    generator = torch.Generator().manual_seed(5)
    length = max(COUNTS)
    features = torch.randn(2, length, SHAPE["feature_dim"], generator=generator)
    grid_xy = torch.randint(50, (2, length, 2), generator=generator)
    mask = torch.ones(2, length, dtype=torch.bool)
    if not equal:
        mask[1, COUNTS[1] :] = False
    features = features * mask[..., None]
    return features, grid_xy, mask, torch.tensor([0, 2])


def two_steps(model, forward, rows, synchronise):
    """Weights after two steps on some of the slides.

    In single precision of SGD: AdamW would blow up the rounding errors of gradients that are zero
    (those of key biases, which softmax does not see) to whole steps.
    """
    features, grid_xy, mask, target = (x[rows] for x in slides())
    if next(model.parameters()).dtype == torch.float64:
        features = features.double()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    else:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(forward(features, grid_xy, mask), target[: len(mask)])
        loss.backward()
        synchronise()
        optimiser.step()
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def train(rank, num_ranks, data, runs):
    """Each run: settings of the model, and whether DDP or `sync_gradients` averages."""
    mesh = make_mesh(data=data)
    row = mesh.get_local_rank("data")
    rows = slice(None) if data == 1 else slice(row, row + 1)
    found = []
    for settings, wrapper in runs:
        model = Classifier(**settings)
        if rank:  # must be made equal to rank 0
            nn.init.zeros_(model.head.weight)
        model.encoder.checkpoint_activations = wrapper == "checkpointed"
        if wrapper == "double":
            model.double()
        apply_sequence_parallel(model, mesh)
        if wrapper == "ddp":
            wrapped = DistributedDataParallel(model)
            found.append(two_steps(model, wrapped, rows, lambda: None))
        else:
            sync = lambda model=model: sync_gradients(model, mesh)  # noqa: E731
            found.append(two_steps(model, model, rows, sync))
    return found


def outputs(rank, num_ranks):
    """Embeddings and states in every way of asking, given whole slides and uneven chunks."""
    mesh = make_mesh()
    found = {}
    for equal in (True, False):
        features, grid_xy, mask, _ = slides(equal)
        for pooling in ("class_token", "mean"):
            model = apply_sequence_parallel(Classifier(pooling=pooling), mesh).encoder.eval()
            with torch.no_grad():
                key = (equal, pooling)
                found[*key, "final"] = model(features, grid_xy, mask)
                found[*key, 2] = model(features, grid_xy, mask, state=2)
                found[*key, "pooled"] = model.pooled_states(features, grid_xy, mask)
                with torch.autocast("cpu", torch.bfloat16):
                    found[*key, "mixed precision"] = model(features, grid_xy, mask)
                found[*key, "states"] = torch.stack(model.states(features, grid_xy, mask))
    features, grid_xy, _, _ = slides(equal=True)
    sizes = [1] * (num_ranks - 1) + [features.shape[1] + 2 - num_ranks]  # a lone class token
    low, high = tile_span(chunks_of(sizes), rank)
    model = apply_sequence_parallel(Classifier(), mesh, inputs="chunk").encoder.eval()
    with torch.no_grad():
        found["chunk"] = model(
            features[:, low:high], grid_xy[:, low:high], slide_id=("one", "other")
        )
    return found


def random_draws(rank, num_ranks):
    """Which tokens dropout hits, what stochastic depth decides, and the default generator after."""
    mesh = make_mesh()
    found = {}
    features, grid_xy, _, _ = slides(equal=True)
    features, grid_xy = features[:, :31], grid_xy[:, :31]  # 32 tokens: even chunks
    model = apply_sequence_parallel(Classifier(dropout=0.5), mesh).encoder.train()
    torch.manual_seed(1)
    request = ForwardRequest("states", 3)
    x, _ = model._embed(features, grid_xy, None, request)
    found["dropped"] = x == 0
    x, _ = model._embed(features, grid_xy, None, request)
    found["dropped again"] = x == 0
    model = apply_sequence_parallel(Classifier(drop_path=0.5), mesh).encoder.train()
    decisions = []
    for block in model.blocks:
        keep = block.keep_factors
        block.keep_factors = lambda *a, keep=keep: decisions.append(keep(*a)) or decisions[-1]
    model.checkpoint_activations = True
    model(features, grid_xy).sum().backward()
    found["depth"] = [None if d is None else d[0][0, 0].item() for d in decisions]
    found["default generator"] = torch.rand(())
    return found


def given_back(rank, num_ranks):
    """A model that was shared, a copy of it made meanwhile, and the same given back."""
    mesh = make_mesh()
    features, grid_xy, mask, _ = slides()
    model = apply_sequence_parallel(Classifier(), mesh)
    found = {"types": [type(module) for module in model.modules()]}
    found["keys"] = list(model.state_dict())
    with torch.no_grad():
        found["shared"] = model(features, grid_xy, mask)
        found["copied"] = copy.deepcopy(model)(features, grid_xy, mask)
        found["released"] = release_sequence_parallel(model)(features, grid_xy, mask)
    return found
