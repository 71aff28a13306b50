"""The model card: what a model is, what it was made from, what it is not good for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slidenet.core.provenance import canonical_json, identity_hash
from slidenet.core.text import count_of
from slidenet.pipelines.reporting.performance import Performance
from slidenet.pipelines.reporting.run_files import RunFound, size_and_digest
from slidenet.tasks import Calibration, MultiTask
from slidenet.training import Bundle, Ensemble
from slidenet.visualisation.html import (
    Child,
    Html,
    Section,
    details,
    element,
    facts,
    listing,
    missing,
    note,
    paragraph,
)

FEW_PATIENTS = 100
"""Fewer than this behind a model are said among its limits."""


def model_card_section(runs: Sequence[RunFound], performance: Performance) -> Section:
    """The card of the first model that the folders hold.

    Args:
        runs: Folders, in order.
        performance: What was found about its predictions.
    """
    title = "Model card"
    run = next((one for one in runs if one.model is not None), None)
    if run is None or run.model is None or run.bundle is None:
        broken = [one.bundle for one in runs if one.bundle is not None]
        if broken:
            told = f"{broken[0].name} that could be read; see what is said under Failures."
        else:
            told = "a model (model.slidenet, ensemble.slidenet) in the folder of a run."
        return Section("model-card", title, [missing(told)], "no model")
    model, card = run.model, _facts(run.model, run.bundle)
    parts: list[Html] = [
        paragraph(
            f"{run.bundle.name} of {run.folder.name}: {model.task.describe()}. For research; it "
            "is no medical device, and nobody has shown that it is safe to decide about patients."
        ),
        element("h3", "What it is"),
        facts(card),
        element("h3", "What it was made from"),
        facts(_data(model)),
        element("h3", "How good it is"),
    ]
    if performance.sentences:
        parts.append(listing(performance.sentences))
        parts += [note("bad", text) for text in performance.cautions]
    else:
        parts.append(missing("predictions of bags with labels."))
    parts += [
        element("h3", "What it is not good for"),
        listing(_limits(model, performance)),
        element("h3", "Recipe and digests"),
        facts(_digests(run, model, run.bundle)),
        details("Features it takes", element("p", _json(model.features_identity))),
        details("Settings of the network", facts(_settings(model))),
    ]
    return Section("model-card", title, parts)


def _facts(model: Bundle | Ensemble, path: Path) -> dict[str, Child]:
    member, task = model.members[0], model.task
    network = str(member.module.hparams["network"])
    numbers = sum(p.numel() for p in member.module.parameters())
    each = f", {count_of('model', len(model.members))}" if len(model.members) > 1 else ""
    found: dict[str, Child] = {
        "task": task.kind,
        "label columns": ", ".join(task.label_columns),
        "classes": ", ".join(task.class_names) or "none",
        "network": f"{network}{each}",
        "numbers it has learnt": f"{numbers:,}{' each' if each else ''}",
        "a bag is": str(model.training.get("bag", "slide")),
        "file": f"{path.name}, {size_and_digest(path)[0]} bytes",
    }
    if task.has_positive_class:
        found["positive class"] = task.class_names[1]
    return found | _calibration(
        model.calibration, task.targets if isinstance(task, MultiTask) else None
    )


def _calibration(calibration: Calibration, targets: Mapping[str, Any] | None) -> dict[str, Child]:
    """Cut-off and temperature, of each target where there are several."""
    named = {"": calibration} if targets is None else dict(calibration.targets)
    found: dict[str, Child] = {}
    for target, one in named.items():
        of = f" of {target}" if target else ""
        if one.threshold is not None:
            found[f"cut-off{of}"] = f"{one.threshold:.4f}"
        if one.temperature != 1:
            found[f"temperature{of}"] = f"{one.temperature:.3f}"
    return found


def _data(model: Bundle | Ensemble) -> dict[str, Child]:
    """Slides and patients it has seen, and how their features were made."""
    identity: Any = model.features_identity
    tiles, encoder = identity.get("tiles", {}), identity.get("tile_encoder", {})
    tissue = tiles.get("tissue", {})
    name = encoder.get("encoder", encoder.get("id", "not said"))
    found: dict[str, Child] = {
        kind + " seen": _number(model, kind) for kind in ("slides", "patients")
    }
    found["tile encoder"] = str(name)
    found["features per tile"] = " + ".join(map(str, model.members[0].module.feature_dims))
    found["microns per pixel"] = str(tiles.get("target_mpp", "not said"))
    found["tile, pixels"] = str(tiles.get("tile_size_px", "not said"))
    if isinstance(tissue, Mapping):
        found["tissue found by"] = str(tissue.get("segmenter", "not said"))
    if model.covariate_kinds:
        found["covariates"] = ", ".join(model.covariate_kinds)
    return found


def _seen(model: Bundle | Ensemble, kind: str) -> int | None:
    """How many slides or patients took part in its training, over all members."""
    digests: set[str] = set()
    for member in model.members:
        seen = member.training.get("seen")
        listed = seen.get(kind) if isinstance(seen, Mapping) else None
        if not isinstance(listed, Sequence):
            return None
        digests |= set(map(str, listed))
    return len(digests)


def _number(model: Bundle | Ensemble, kind: str) -> str:
    number = _seen(model, kind)
    return "not said" if number is None else f"{number:,}"


def _limits(model: Bundle | Ensemble, performance: Performance) -> list[Child]:
    """What can be said against using it, from what is known of it."""
    identity: Any = model.features_identity
    tiles = identity.get("tiles", {})
    lines: list[Child] = [
        "Slides of other scanners, stains and hospitals than those it was trained on: how it does "
        "there is not known until `slidenet evaluate --bundle` has judged it on some.",
        f"Features made in any other way: it takes tiles at {tiles.get('target_mpp', 'the same')} "
        "microns per pixel and the encoder above, and refuses others.",
    ]
    patients = _seen(model, "patients")
    if patients == 0:
        lines.append("Nothing says whose the slides were, so slides of one patient may lie on both "
                     "sides of a split, which makes results too good.")  # fmt: skip
    elif patients is not None and patients < FEW_PATIENTS:
        lines.append(f"It has seen {count_of('patient', patients)}, which is few.")
    if model.task.takes_threshold and model.calibration.temperature == 1:
        lines.append("Its probabilities were not calibrated by a temperature; what calibration "
                     "remains to be wished for stands under Performance.")  # fmt: skip
    if not performance.sentences:
        lines.append("No predictions on new bags with labels lie in these folders.")
    lines.append("A map of what it looked at shows what moved this model, not what is there.")
    return lines


def _digests(run: RunFound, model: Bundle | Ensemble, path: Path) -> dict[str, Child]:
    found: dict[str, Child] = {"SHA-256 of the file": _code(size_and_digest(path)[1])}
    for number, digest in enumerate(model.digests):
        which = f" {number}" if len(model.digests) > 1 else ""
        found[f"digest of model{which}"] = _code(digest)
    found["identity of its features"] = _code(identity_hash(model.features_identity))
    hashes = {str(member.training.get("run", "")) for member in model.members} - {""}
    found["identity of its run"] = _code(", ".join(sorted(hashes)) or "not said")
    seeds = {str(member.training.get("seed", "not said")) for member in model.members}
    found["seed"] = ", ".join(sorted(seeds))
    made = ", ".join(f"{name} {version}" for name, version in model.versions.items())
    found["made by"] = made
    return found


def _settings(model: Bundle | Ensemble) -> dict[str, Child]:
    settings: Mapping[str, Any] = model.members[0].module.hparams
    return {str(name): _code(str(value)) for name, value in settings.items() if name != "task"}


def _json(identity: Any) -> Html:
    return _code(canonical_json(identity)[:20_000])


def _code(text: str) -> Html:
    return element("code", text)
