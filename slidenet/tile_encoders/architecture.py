"""From a spec to a module without weights, and from a module's output to one vector per tile."""

import copy
from itertools import pairwise
from typing import Any

import timm
import timm.layers
import torch
from timm.models import EfficientNet, ResNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slidenet.core.errors import EncoderError
from slidenet.tile_encoders.spec import Pooling, TileEncoderSpec

FOLDED = (EfficientNet, ResNet)
"""In these a norm that is registered right after a convolution is also called right after it."""


def build_module(spec: TileEncoderSpec, *, device: str) -> nn.Module:
    """The spec's architecture, without classifier, in eval mode and without weights.

    Args:
        spec: What to build.
        device: "meta" allocates nothing, which is enough when a state dict is assigned next.
    """
    arguments: dict[str, Any] = dict(spec.arguments)
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = getattr(timm.layers, str(arguments["mlp_layer"]))
    with torch.device(device):
        module: nn.Module = timm.create_model(
            spec.architecture, pretrained=False, num_classes=0, **arguments
        )
    return module.eval()


def features_of(module: nn.Module, images: Tensor, pooling: Pooling) -> Tensor:
    """Runs the module and pools its tokens.

    Args:
        module: A timm vision transformer for the token poolings, anything for "model".
        images: float (B, 3, H, W), normalised.
        pooling: How tokens become one vector; see `spec.Pooling`.

    Returns:
        (B, D) features in the module's precision.

    Raises:
        EncoderError: The output is not one vector per tile.
    """
    if pooling == "model":
        features: Tensor = module(images)
    else:
        vit: Any = module
        tokens: Tensor = vit.forward_features(images)  # (B, prefix + patches, C), after the norm
        features = tokens[:, 0]
        if pooling == "class_patch_mean":
            # The prefix is the class token and any register tokens.
            patches = tokens[:, vit.num_prefix_tokens :]
            features = torch.cat([features, patches.mean(dim=1)], dim=-1)
    if features.ndim != 2:
        raise EncoderError(
            f"the module returns a tensor of shape {tuple(features.shape)}",
            expected="(B, D), one vector per tile",
            remedy="pool inside the module, or build it without classifier and with pooling",
        )
    return features


def output_dim_of(module: nn.Module, input_px: int, pooling: Pooling, device: str) -> int:
    """Length of a feature vector, found by running one blank image."""
    with torch.inference_mode():
        blank = torch.zeros(1, 3, input_px, input_px, device=device)
        return features_of(module, blank, pooling).shape[1]


def folded_copy(module: nn.Module) -> nn.Module:
    """Folds the batch norms of a frozen convolutional network into the convolutions before them.

    The features are the same, to rounding, with fewer passes over memory.

    Args:
        module: In eval mode, with its weights.

    Returns:
        A copy without batch norms where `module` is of a family in `FOLDED`, else `module` itself.
    """
    assert not module.training, "folding uses the running statistics"
    if type(module) not in FOLDED:  # a subclass may call its layers in another order
        return module
    module = copy.deepcopy(module)
    _fold(module)
    return module


def _fold(module: nn.Module) -> None:
    for child in module.children():
        _fold(child)
    for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            # timm's norms carry the activation that follows them.
            setattr(module, norm_name, getattr(norm, "act", nn.Identity()))
