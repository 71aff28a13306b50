"""What a Lightning checkpoint of a `SlideClassifier` says about itself, and whether it fits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slidenet.core.errors import ConfigError
from slidenet.core.provenance import canonical_json, describe_difference
from slidenet.core.window_rule import RULE, without_idle_rule
from slidenet.mil import FROM_CHECKPOINT, bag_model_settings
from slidenet.tasks import task_from_identity

WEIGHTS = "weights"


def portable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a trained model: the weights it began with are no longer needed.

    Args:
        settings: The hyper-parameters of a `SlideClassifier`.

    Returns:
        The same, with the network's `weights` replaced by "from_checkpoint" where it takes any.
    """
    if WEIGHTS not in bag_model_settings(settings["network"]):
        return dict(settings)
    network = {**settings["network_settings"], WEIGHTS: FROM_CHECKPOINT}
    return {**settings, "network_settings": network}


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a checkpoint or bundle can keep them: paths as text.

    Raises:
        ConfigError: For a value that is no number, text, path, list or mapping of them.
    """
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in settings.items()}
    for name, value in plain.items():
        try:
            canonical_json({name: value})
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{name}={value!r} cannot be kept in a checkpoint ({error})",
                expected="a number, a text or a list of them",
                remedy="give an attention pattern or shape by its name",
            ) from error
    return plain


def check_same_model(source: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that was trained for something else.

    Args:
        source: The file, for the message.
        found: Hyper-parameters in the file.
        wanted: Hyper-parameters of the model to fill; keys that are absent are not compared.

    Raises:
        ConfigError: Naming the file and both tasks, feature lengths, networks or rules of windows.
    """
    ours, theirs = wanted.get("task"), found["task"]
    if ours is not None and ours != theirs:
        raise ConfigError(
            f"{source} was trained for another task ({describe_difference(theirs, ours)})",
            expected=task_from_identity(ours).describe(),
            remedy="use a checkpoint of that task, or the labels of "
            f"{task_from_identity(theirs).describe()}",
        )
    for key, word in (("feature_dim", "features of length"), ("network", "the network")):
        if key in wanted and wanted[key] != found[key]:
            raise ConfigError(
                f"{source} was trained with {word} {found[key]}",
                expected=f"{word} {wanted[key]}",
                remedy="use a checkpoint made from such features"
                if key == "feature_dim"
                else f"set model.network to {found[key]}",
            )
    if "network_settings" in wanted:
        rules = [
            str(without_idle_rule(one["network_settings"]).get("attention_settings", {}).get(RULE))
            for one in (found, wanted)
        ]
        if rules[0] != rules[1]:
            ours, theirs = ("half" if rule == "None" else rule for rule in reversed(rules))
            raise ConfigError(
                f"{source} was trained with {RULE} {theirs!r}, the meaning of settings without it "
                "in older files",
                expected=f"{RULE} {ours!r}",
                remedy="read it with slidenet.training.load_classifier, or give "
                f"attention_settings {RULE}={theirs!r}",
            )
