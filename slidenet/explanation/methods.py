"""The methods by name: what each needs, what its numbers mean, and how one is run and checked.

Every method lies in a file of its own, which adds it to `EXPLAINERS`.
"""

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from slidenet.core.errors import ConfigError, ExplanationError
from slidenet.core.provenance import JsonValue
from slidenet.core.registry import Registry
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.mil.longnet import LongNetMIL
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

TileValues: TypeAlias = npt.NDArray[np.float32]
Details: TypeAlias = dict[str, JsonValue]
Explanation: TypeAlias = tuple[TileValues, Details]


class Explainer(Protocol):
    """A method: one number for each tile of a bag, about one target.

    Attributes:
        name: In settings and files.
        signed: Whether positive numbers speak for the target and negative ones against it.
        unit: "logit" (of the target, in its own unit for a value), "share" or "distance".
        is_evidence: Whether it says what the prediction rests on. False: where the model looked, or
            a control.
    """

    name: str
    signed: bool
    unit: Unit
    is_evidence: bool

    def applies_to(self, network: BagModel) -> str:
        """Empty, or why there is no such map of this network."""
        ...

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """float32 (N,) in the order of the bag, and what is to be said about how it was made."""
        ...


REVISIONS = {"rollout": 2}
"""Methods whose numbers have changed since they were first made; files of then are other maps."""

UNTRAINED = "untrained"
"""Name of the control that draws the default map by a network with random weights."""

EXPLAINERS: Registry[Explainer] = Registry("method of explanation")


LAST_RESORT = "occlusion_regions"
"""Of networks that none of the default methods fits; it fits them all."""


def default_methods(network: BagModel) -> tuple[str, ...]:
    """The methods that told the truth about networks of this kind, the best one first.

    See "Which map to believe" in docs/explanation.md: evidence of tiles and bags of a single tile
    for pooling, rollout and bags of a single tile for LongNet; a bag of a single tile is blind to
    what depends on several tiles.
    """
    if isinstance(network, LongNetMIL):
        found: tuple[str, ...] = ("rollout", "single_tile")
    elif network.has_contributions:
        found = ("evidence", "single_tile")
    else:
        found = ("single_tile", "integrated_gradients")
    return tuple(n for n in found if not EXPLAINERS[n].applies_to(network)) or (LAST_RESORT,)


def default_method(network: BagModel) -> str:
    """The first of `default_methods`."""
    return default_methods(network)[0]


def meant_by(method: str, network: BagModel) -> Explainer:
    """Whose sign and unit the numbers of a method have: for "untrained", the method it draws."""
    return EXPLAINERS[default_method(network) if method == UNTRAINED else method]


def explain_target(method: str, subject: Subject, target: ExplainedTarget) -> Explanation:
    """Runs a method and refuses what is no map.

    Args:
        method: Name in `EXPLAINERS`.
        subject: The bag.
        target: What is explained.

    Returns:
        float32 (N,), finite, and the details.

    Raises:
        UnknownNameError: No such method.
        ConfigError: The method does not apply to this network.
        ExplanationError: Numbers that are not finite, naming the layer they come from.
    """
    explainer = EXPLAINERS[method]
    why_not = explainer.applies_to(subject.network)
    if why_not:
        others = [name for name in EXPLAINERS if not EXPLAINERS[name].applies_to(subject.network)]
        raise ConfigError(
            f"no map by {method!r} of this network: {why_not}",
            expected=f"a method that applies: {', '.join(others)}",
        )
    values, details = explainer.explain(subject, target)
    values = np.asarray(values, dtype=np.float32)
    assert values.shape == (len(subject),), f"{method}: one number per tile"
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        layer = first_bad_layer(subject)
        where = f"first in the layer {layer!r}" if layer else "not in the network's own forward"
        raise ExplanationError(
            f"the map of {target.name!r} by {method!r} is not finite at {len(bad)} of "
            f"{len(values)} tiles (first: tile {int(bad[0])} of the bag); {where}",
            expected="finite numbers",
            remedy="look at the weights and the features of these tiles: `slidenet audit` names "
            "features that are out of the ordinary",
        )
    return values, details


@torch.no_grad()
def first_bad_layer(subject: Subject) -> str:
    """Name of the first layer of the network whose output is not finite; empty where none is."""
    found: list[str] = []

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def look(module: nn.Module, arguments: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return layer.register_forward_hook(look)

    layers = subject.network.named_modules()
    hooks = [watch(name, layer) for name, layer in layers if not list(layer.children())]
    try:
        subject.logits()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def tile_values(values: Tensor) -> TileValues:
    """A tensor (N,) as an array on the CPU."""
    return values.detach().float().cpu().numpy()


def from_median(values: Tensor, target: ExplainedTarget) -> Tensor:
    """Values (N,) counted from their median where the target has no zero of its own."""
    return values - values.median() if target.relative else values
