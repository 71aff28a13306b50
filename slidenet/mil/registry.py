"""Models on bags by name, as configuration files and commands choose them."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from numbers import Integral, Real
from typing import Any

from slidenet.attention import ATTENTION_PATTERNS
from slidenet.core.checks import refused
from slidenet.core.errors import ConfigError, PluginError
from slidenet.core.provenance import Identity
from slidenet.core.registry import Registry
from slidenet.core.window_rule import WindowRule, network_with_rule
from slidenet.mil.clam import ClusteringMIL
from slidenet.mil.contract import BagModel
from slidenet.mil.dsmil import DualStreamMIL
from slidenet.mil.gigapath import GigaPathMIL
from slidenet.mil.longnet import make_longnet
from slidenet.mil.pooling import AttentionMIL, MaxPooling, MeanPooling
from slidenet.mil.probe import ProbeModel
from slidenet.mil.transmil import TransMIL
from slidenet.slide_encoders import LongNetConfig

BAG_MODELS: Registry[Callable[..., BagModel]] = Registry(
    "bag model",
    group="slidenet.bag_models",
    expected="a subclass of slidenet.mil.BagModel, or a function that returns one",
)
BAG_MODELS.add("abmil", AttentionMIL)
BAG_MODELS.add("clam_mb", partial(ClusteringMIL, multi_branch=True))
BAG_MODELS.add("clam_sb", partial(ClusteringMIL, multi_branch=False))
BAG_MODELS.add("dsmil", DualStreamMIL)
BAG_MODELS.add("gigapath", GigaPathMIL)
BAG_MODELS.add("longnet", make_longnet)
BAG_MODELS.add("max", MaxPooling)
BAG_MODELS.add("mean", MeanPooling)
BAG_MODELS.add("probe", ProbeModel)
BAG_MODELS.add("transmil", TransMIL)
BAG_MODELS.add_other_names(
    dict.fromkeys(
        ("attention", "attention_mil", "attmil", "deepattnmil", "gated_attention", "ilse"),
        "'abmil'",
    )
    | dict.fromkeys(("average", "avg", "mean_pool", "mean_pooling"), "'mean'")
    | dict.fromkeys(("max_pool", "max_pooling"), "'max'")
    | dict.fromkeys(("nystrom", "nystromformer"), "'transmil'")
    | {"clam": "'clam_sb' (one branch) or 'clam_mb' (one per class)"}
)

FIXED = {"feature_dim", "num_outputs", "multi_branch"}
"""What the data, the task and the name settle."""


def make_bag_model(name: str, *, feature_dim: int, num_outputs: int, **settings: Any) -> BagModel:
    """The model registered under `name`.

    Args:
        name: One of `list(BAG_MODELS)`, or the name or import path of a model of another package.
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits, `Task.num_outputs`.
        **settings: Keyword arguments of that model, `bag_model_settings(name)`.

    Raises:
        UnknownNameError: If there is no such model.
        ConfigError: If the model has no such setting, or a setting is out of range.
        MissingWeightsError: If "gigapath" finds no weights.
        PluginError: If a model of another package cannot be loaded, or is none.
    """
    build = BAG_MODELS[name]
    known = bag_model_settings(name)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(unknown)} of bag model {name!r}",
            expected=f"settings among {', '.join(known)}" if known else "no settings",
            remedy="give its own with --model.network-settings; '{}' takes away those that a "
            "config has for another network",
        )
    _check_kinds(name, settings)
    model = build(feature_dim=feature_dim, num_outputs=num_outputs, **settings)
    if not isinstance(model, BagModel):
        raise PluginError(
            f"the bag model {name!r} makes a {type(model).__name__}",
            expected="a subclass of slidenet.mil.BagModel",
        )
    return model


def _check_kinds(name: str, settings: Mapping[str, Any]) -> None:
    """Refuses a text where a number belongs, and the like, which a file may hold.

    Raises:
        ConfigError: Naming the setting.
    """
    parameters = inspect.signature(BAG_MODELS[name]).parameters.values()
    wanted: dict[str, object] = {p.name: p.annotation for p in parameters}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        wanted = {f.name: f.type for f in fields(LongNetConfig)} | wanted
    for setting, value in settings.items():
        kind = wanted.get(setting)
        number = isinstance(value, Real) and not isinstance(value, bool)
        if kind is bool and not isinstance(value, bool):
            raise refused(setting, value, "true or false")
        if kind is int and not (number and isinstance(value, Integral)):
            raise refused(setting, value, "a whole number")
        if kind is float and not (number and math.isfinite(value)):
            raise refused(setting, value, "a finite number")


def bag_model_settings(name: str) -> tuple[str, ...]:
    """Names of the settings a model takes, sorted.

    Raises:
        UnknownNameError: If there is no such model.
    """
    parameters = inspect.signature(BAG_MODELS[name]).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        known |= {field.name for field in fields(LongNetConfig)}
    return tuple(sorted(known - FIXED))


def settings_with_rule(name: str, settings: Mapping[str, Any], rule: WindowRule) -> dict[str, Any]:
    """Settings of a model that say what the window of their attention pattern counts, if any.

    Args:
        name: Of the bag model.
        settings: Its settings.
        rule: Of settings that do not say: "keys" today, "half" in files of older versions.
    """
    if "attention_settings" not in bag_model_settings(name):
        return dict(settings)
    return network_with_rule(settings, rule)


def plugin_identity(name: str, settings: Mapping[str, Any]) -> Identity:
    """What code outside slidenet adds to the identity of a model; empty for slidenet's own.

    Args:
        name: Of the bag model.
        settings: Its settings; those of LongNet may name an attention pattern.
    """
    found = {**BAG_MODELS.plugin_identity(name)}
    attention = settings.get("attention")
    if isinstance(attention, str):
        outside = ATTENTION_PATTERNS.plugin_identity(attention)
        found |= {"attention_plugin": outside["plugin"]} if outside else {}
    return found


def require_own(name: str, settings: Mapping[str, Any], *, source: str, allow_code: bool) -> None:
    """Refuses a model that a file describes by code outside slidenet; see `Registry.require_own`.

    Raises:
        PluginError: Naming the code, unless `allow_code`.
    """
    BAG_MODELS.require_own(name, source=source, allow_code=allow_code)
    attention = settings.get("attention")
    if isinstance(attention, str):
        ATTENTION_PATTERNS.require_own(attention, source=source, allow_code=allow_code)
