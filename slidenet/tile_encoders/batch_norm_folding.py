"""Batch norms of a frozen convolutional network, folded into the convolutions before them."""

import copy
from itertools import pairwise

from timm.models import EfficientNet, ResNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FOLDED = (EfficientNet, ResNet)
"""In these a norm that is registered right after a convolution is also called right after it."""


def folded_copy(module: nn.Module) -> nn.Module:
    """A network with the same features, to rounding, and fewer passes over memory.

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
