"""Small models of every name, and padded bags with garbage in the padding."""

import pytest
import torch

from slidenet.mil import BAG_MODELS, make_bag_model
from slidenet.slide_encoders import LongNetConfig, LongNetViT, save_checkpoint

FEATURE_DIM = 12

SHAPE = {
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 4,
    "ffn_dim": 24,
    "segment_lengths": (4, 16),
    "dilation_rates": (1, 2),
    "grid_size": 64,
}
NO_DROPOUT = {"dropout": 0.0}
SETTINGS = {
    "mean": {},
    "max": {},
    "abmil": {"hidden_dim": 10, "attention_dim": 6} | NO_DROPOUT,
    "clam_sb": {"hidden_dim": 10, "attention_dim": 6, "num_instances": 2} | NO_DROPOUT,
    "clam_mb": {"hidden_dim": 10, "attention_dim": 6, "num_instances": 2} | NO_DROPOUT,
    "dsmil": {"query_dim": 6},
    "transmil": {"embed_dim": 8, "num_heads": 2, "num_landmarks": 4, "residual_kernel": 5}
    | NO_DROPOUT,
    "probe": {"kind": "logistic", "columns": "mean_std", "predicts": "classes"},
    "longnet": SHAPE | NO_DROPOUT,
    "gigapath": SHAPE | NO_DROPOUT | {"layers": (1, 2)},
}
POSITION_FREE = ("mean", "max", "abmil", "clam_sb", "clam_mb", "dsmil", "probe")
TRAINED = sorted(set(BAG_MODELS) - {"probe"})
"""Those with something to learn: a probe is fitted, and has no parameters."""


def padded_bags(lengths, *, longest=None, seed=0, dtype=torch.float64):
    """Features, cells and mask of bags; the padding holds NaN and impossible cells.

    A bag of one length and place in the list is the same whatever `longest` is. Real tiles lie in
    between masked ones.
    """
    longest = longest or max(lengths)
    features = torch.full((len(lengths), longest, FEATURE_DIM), float("nan"), dtype=dtype)
    grid_xy = torch.full((len(lengths), longest, 2), -7)
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for b, n in enumerate(lengths):
        draw = torch.Generator().manual_seed(1000 * seed + b)
        x = torch.randn(n, FEATURE_DIM, generator=draw, dtype=dtype)
        cells = torch.randperm(64 * 64, generator=draw)[:n]
        where = torch.randperm(longest, generator=draw)[:n].sort().values
        features[b, where] = x
        grid_xy[b, where] = torch.stack([cells // 64, cells % 64], dim=1)
        mask[b, where] = True
    return features, grid_xy, mask


@pytest.fixture(scope="session")
def bags():
    return padded_bags


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A `slide_encoder.pth` of the small shape."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "slide_encoder.pth"
    config = LongNetConfig(feature_dim=FEATURE_DIM, **SHAPE)
    save_checkpoint(path, LongNetViT(config).state_dict())
    return path


@pytest.fixture(scope="session")
def small(weights):
    """`small(name, num_outputs, **settings)`: a small float64 model, heads away from zero."""

    def build(name, num_outputs=1, *, feature_dim=FEATURE_DIM, seed=0, **settings):
        torch.manual_seed(seed)
        chosen = SETTINGS[name] | settings
        if name == "gigapath":
            chosen = {"weights": weights} | chosen
        model = make_bag_model(
            name, feature_dim=feature_dim, num_outputs=num_outputs, **chosen
        ).double()
        for key, parameter in model.named_parameters():
            if key.split(".")[0] in ("head", "tile_head"):
                torch.nn.init.normal_(parameter, std=0.3)
            elif key.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        if name == "probe":
            for buffer in model.buffers():
                torch.nn.init.normal_(buffer, std=0.3)
        return model

    return build


@pytest.fixture(params=sorted(BAG_MODELS))
def name(request):
    return request.param


@pytest.fixture(params=TRAINED)
def trained_name(request):
    return request.param


@pytest.fixture(params=POSITION_FREE)
def position_free(request):
    return request.param
