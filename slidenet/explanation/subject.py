"""What is explained: one network, the tiles it saw of one bag, and what else went into the logits.

Shapes: N tiles of the bag, D feature length as the network sees it, K outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.errors import ConfigError
from slidenet.mil import FROM_CHECKPOINT, BagBatch, BagModel, FeatureSet, make_bag_model
from slidenet.mil.gigapath import GigaPathMIL
from slidenet.tasks import ExplainedTarget
from slidenet.training import SlideClassifier
from slidenet.training.features.scaling import as_seen

T = TypeVar("T")

Keep = Tensor | npt.NDArray[Any] | None
"""Which tiles stay in the bag: bool (N,), or their places in the order they are to have."""

UNTRAINED_SEED = 0
"""Of the weights of untrained networks."""

_untrained: "WeakKeyDictionary[SlideClassifier, dict[int, BagModel]]" = WeakKeyDictionary()
"""Those made already, by classifier and feature set: one serves all bags and targets."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A bag as one network sees it. Logits of the task are `scale * network(tiles) + offset`.

    Attributes:
        network: In evaluation mode.
        features: float32 (N, D), scaled and reduced as the network takes them.
        grid_xy: int64 (N, 2), (column, row) cells, slides of a bag side by side.
        offset: (K,), what does not come from these tiles: covariates, other feature sets, the
            centre of a regression's target.
        scale: (K,), of a regression's target; ones elsewhere.
        fresh: Gives the untrained network of the same settings; None where there is none.
    """

    network: BagModel
    features: Tensor
    grid_xy: Tensor
    offset: Tensor
    scale: Tensor
    fresh: Callable[[], BagModel] | None = None
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.features)

    def logits(
        self, keep: Keep = None, *, features: Tensor | None = None, grid_xy: Tensor | None = None
    ) -> Tensor:
        """Logits of the task (K,), of the bag or of one made from it.

        Args:
            keep: The tiles that stay; the others are removed, as if they had never been cut.
            features: (N, D) in place of the bag's; gradients flow to them.
            grid_xy: (N, 2) in place of the bag's.

        Raises:
            EncoderError: No tile stays.
        """
        x = self.features if features is None else features
        cells = self.grid_xy if grid_xy is None else grid_xy
        if keep is not None:
            which = torch.as_tensor(keep, device=x.device)
            x, cells = x[which], cells[which]
        return self.logits_of_bags(x[None], cells[None])[0]

    def logits_of_bags(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Logits of the task (B, K) of bags made from this one: (B, L, D), (B, L, 2), (B, L)."""
        if mask is None:
            mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        logits: Tensor = self.network(features, grid_xy, mask).logits
        return logits.float() * self.scale + self.offset

    def score(
        self,
        target: ExplainedTarget,
        *,
        features: Tensor | None = None,
        grid_xy: Tensor | None = None,
        keep: Keep = None,
    ) -> Tensor:
        """What is said of the target, a scalar; arguments as for `logits`."""
        return target.score(self.logits(keep, features=features, grid_xy=grid_xy))

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once for all targets of this bag; the key is a method's name."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def with_network(self, network: BagModel) -> "Subject":
        """The same tiles before another network, whose logits nothing is added to."""
        network = network.to(self.features.device).eval()
        zero, one = torch.zeros_like(self.offset), torch.ones_like(self.scale)
        return Subject(network, self.features, self.grid_xy, zero, one)


@torch.no_grad()
def subjects_of(module: SlideClassifier, batch: BagBatch) -> list[Subject]:
    """The bag as each network of a classifier sees it: one subject per feature set, in order.

    Args:
        module: Put into evaluation mode.
        batch: One bag, on the device of the module.

    Raises:
        ConfigError: The bag lacks covariates or feature sets that the model was made for.
    """
    assert len(batch) == 1, "one bag at a time"
    module.eval()
    scale, centre = _unit_of(module, batch.features)
    first = FeatureSet(batch.features, batch.coords, batch.grid_xy, batch.mask)
    if module.fusion is None:
        return [_subject(module, 0, first, scale, centre)]
    more, others = module.fusion(batch)  # refuses bags that lack something
    features = as_seen(batch.features, module.scaling, module.reduction)
    own: Tensor = module.network(features, batch.grid_xy, batch.mask).logits.float()
    parts = [own, *(output.logits.float() for output in others)]
    return [
        _subject(module, i, tiles, scale, (own + more - parts[i])[0] * scale + centre)
        for i, tiles in enumerate((first, *batch.others))
    ]


def _unit_of(module: SlideClassifier, like: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and centre (K,) of the target that the networks learn."""
    count = module.task.num_outputs
    scale, centre = torch.ones(count, device=like.device), torch.zeros(count, device=like.device)
    if module.task.scales_target:
        scale = scale * torch.tensor(module.target_scale, device=like.device)
        centre = centre + torch.tensor(module.target_offset, device=like.device)
    return scale, centre


def _subject(
    module: SlideClassifier, position: int, tiles: FeatureSet, scale: Tensor, offset: Tensor
) -> Subject:
    parts = [(module.network, module.scaling, module.reduction)]
    if module.fusion is not None:
        parts += [(b.network, b.scaling, b.reduction) for b in module.fusion.each_branch]
    network, scaling, reduction = parts[position]
    real = tiles.mask[0]
    features = as_seen(tiles.features[0][real], scaling, reduction).float()
    fresh = partial(_kept_untrained_network, module, position)
    has_weights = any(True for _ in network.parameters())
    return Subject(
        network, features, tiles.grid_xy[0][real], offset, scale, fresh if has_weights else None
    )


def _kept_untrained_network(module: SlideClassifier, position: int) -> BagModel:
    kept = _untrained.setdefault(module, {})
    if position not in kept:
        kept[position] = untrained_network(module, position)
    return kept[position]


def untrained_network(
    module: SlideClassifier, position: int = 0, *, seed: int = UNTRAINED_SEED
) -> BagModel:
    """A network of the settings of one of a classifier's, with random weights of a fixed seed.

    Also where training began with released weights: what is to be seen is what the architecture
    draws on these tiles without having learned anything (Adebayo et al. 2018, section 3).

    Args:
        module: The classifier.
        position: Of the feature set.
        seed: Of the weights.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ConfigError: A fitted probe, which has no untrained form.
    """
    name = module.hparams["network"]
    if not any(True for _ in module.network.parameters()):
        raise ConfigError(
            f"an untrained network of {name!r}, which is fitted and not trained",
            expected="a network with weights",
        )
    settings = dict(module.hparams["network_settings"])
    if isinstance(module.network, GigaPathMIL):
        settings["weights"] = FROM_CHECKPOINT
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = make_bag_model(
            name,
            feature_dim=module.hparams["feature_components"] or module.feature_dims[position],
            num_outputs=module.task.num_outputs,
            **settings,
        )
    if isinstance(made, GigaPathMIL):
        made.awaits_weights = False
    return made.eval()
