"""Trained classifiers out of files: bundles, which are applied, and checkpoints of a training.

A bundle is one file: weights, task, features identity, threshold, temperature. It is what
`torch.save` writes, of tensors and one JSON text, and is read without running code. The same model
gives the same bytes: no dates and no paths are kept.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.provenance import Identity, canonical_json, software_version
from slidenet.mil import BagBatch
from slidenet.mil.registry import require_own, settings_with_rule
from slidenet.stores.atomic import atomic_path
from slidenet.tasks import BreslowBaseline, Calibration, PredictionArrays, Task
from slidenet.tasks.calibration import UNCALIBRATED
from slidenet.training.checkpoints import check_same_model, portable_settings
from slidenet.training.feature_statistics import FeatureStatistics
from slidenet.training.module import SlideClassifier
from slidenet.weights.files import read_tensor_file

FORMAT = "slidenet bundle"
VERSION = 1
STATISTICS = "statistics"
"""Key of a bundle file, where it has them."""

CHECKPOINT = "checkpoint of a slide classifier"
KEYS = (
    "settings",
    "features_recipe",
    "threshold",
    "temperature",
    "baseline",
    "training",
    "versions",
)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A classifier ready to be applied to new bags.

    Attributes:
        module: In eval mode, on the CPU.
        features_identity: What features it takes (`FeatureFile.cohort_identity`).
        calibration: Temperature, threshold and baseline.
        training: What was recorded about its training.
        versions: Software that made it.
        statistics: How the features of its training bags lie; None where an older version wrote it
            or the bags were too few.
    """

    module: SlideClassifier
    features_identity: Identity
    calibration: Calibration
    training: Identity
    versions: Mapping[str, str]

    statistics: FeatureStatistics | None = None

    @property
    def task(self) -> Task:
        """What it predicts, with label names."""
        return self.module.task

    @property
    def covariate_kinds(self) -> dict[str, bool]:
        """The covariates it takes, in order: whether each is a category."""
        return self.module.covariate_kinds

    @property
    def more_identities(self) -> tuple[Identity, ...]:
        """What features it takes beside the first ones, in order."""
        more: Any = self.training.get("more_features", ())
        return tuple(more)

    @property
    def members(self) -> tuple["Bundle", ...]:
        """Itself alone; an `Ensemble` has several."""
        return (self,)

    def to(self, device: torch.device | str) -> None:
        """Moves the network to where it is to run."""
        self.module.to(device)

    @torch.inference_mode()
    def predict(self, batch: BagBatch) -> PredictionArrays:
        """Predictions of the bags of a batch, with temperature and baseline applied."""
        logits = self.module(batch.to(self.module.device)).logits.float().cpu()
        return self.task.predict(logits, self.calibration)


def save_bundle(
    path: str | os.PathLike[str],
    module: SlideClassifier,
    *,
    features_identity: Identity,
    calibration: Calibration = UNCALIBRATED,
    training: Identity | None = None,
    statistics: FeatureStatistics | None = None,
) -> None:
    """Writes a bundle, atomically.

    Args:
        path: Where to.
        module: The trained classifier.
        features_identity: What features it takes.
        calibration: Temperature, threshold and baseline.
        training: Anything to remember about the training, as JSON.
        statistics: How the features of the training bags lie, where known.

    Raises:
        ConfigError: For a calibration that does not fit the task, or settings that are not JSON.
        OutputError: If the file cannot be written.
    """
    module.task.check_calibration(calibration)
    baseline = calibration.baseline
    content = {
        "settings": portable_settings(module.hparams),
        "features_recipe": features_identity,
        "threshold": calibration.threshold,
        "temperature": float(calibration.temperature),
        "baseline": None if baseline is None else asdict(baseline),
        "training": training or {},
        "versions": {name: software_version(name) for name in ("slidenet", "torch", "lightning")},
    }
    try:
        text = canonical_json(content)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the settings of this model cannot be kept in a bundle ({error})",
            expected="numbers, texts and lists",
        ) from error
    weights: dict[str, Tensor] = {
        name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()
    }
    file = {"format": FORMAT, "version": VERSION, "content": text, "weights": weights}
    if statistics is not None:
        file[STATISTICS] = statistics.tensors()
    write_torch_file(path, file)


def write_torch_file(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes what `torch.save` makes of a dict, atomically; the same content gives the same bytes.

    Raises:
        OutputError: If the file cannot be written.
    """
    buffer = io.BytesIO()  # under a file's own name torch would write that name into the archive
    torch.save(dict(content), buffer)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def bundle_of(
    path: str | os.PathLike[str], file: Mapping[str, Any], *, allow_code: bool = False
) -> Bundle:
    """The bundle in a file that was read.

    Args:
        path: Where it was read, for messages.
        file: What `save_bundle` wrote.
        allow_code: Whether it may name a network or an attention pattern outside slidenet.

    Raises:
        PluginError: It names code outside slidenet, and `allow_code` is False.
        StoreError: If it is no bundle, of a newer version, or incomplete.
    """
    if file.get("format") != FORMAT:
        raise StoreError(
            f"{path} is no {FORMAT}",
            expected="a file of `slidenet train` or `slidenet crossval` (save_bundle)",
        )
    if file.get("version") != VERSION:
        raise StoreError(
            f"{path} is a {FORMAT} of version {file.get('version')}",
            expected=f"version {VERSION}",
            remedy="install the version of slidenet that made it, or a newer one",
        )
    content = _content(path, file)
    module = _classifier(
        content["settings"], file["weights"], source=str(path), allow_code=allow_code
    )
    baseline = content["baseline"]
    with malformed_explained(str(path)):
        return Bundle(
            module=module,
            features_identity=content["features_recipe"],
            calibration=Calibration(
                content["temperature"],
                content["threshold"],
                None
                if baseline is None
                else BreslowBaseline(**{name: tuple(values) for name, values in baseline.items()}),
            ),
            training=content["training"],
            versions=content["versions"],
            statistics=FeatureStatistics.from_tensors(
                file.get(STATISTICS), module.feature_dim, source=str(path)
            ),
        )


def load_classifier(
    path: str | os.PathLike[str],
    *,
    task: Task | None = None,
    feature_dim: int | None = None,
    allow_code: bool = False,
) -> SlideClassifier:
    """The classifier of a checkpoint, in eval mode on the CPU.

    Args:
        path: A `.ckpt` written during training.
        task: What it must predict; not checked where None.
        feature_dim: Length of the features it must take; not checked where None.
        allow_code: Whether the file may name code outside slidenet.

    Raises:
        PluginError: If it names code outside slidenet, and `allow_code` is False.
        StoreError: If there is no such file, or it is no checkpoint of a slide classifier.
        ConfigError: If it was trained for another task or feature length, naming file and both.
    """
    content = read_torch_file(path, what=CHECKPOINT)
    settings = content.get("hyper_parameters")
    if not isinstance(settings, dict) or not {"task", "feature_dim", "network"} <= set(settings):
        raise StoreError(
            f"{path} is no checkpoint of a slide classifier",
            expected="a best.ckpt or last.ckpt of `slidenet train`",
        )
    wanted: dict[str, Any] = {} if task is None else {"task": task.identity()}
    if feature_dim is not None:
        wanted["feature_dim"] = feature_dim
    check_same_model(str(path), settings, wanted)
    state = content.get("state_dict")
    return _classifier(settings, state, source=str(path), allow_code=allow_code)


def load_weights(module: SlideClassifier, path: str | os.PathLike[str]) -> SlideClassifier:
    """Loads the weights of a checkpoint of the same model; it ends in eval mode on the CPU.

    Raises:
        StoreError: If there is no such file, or it holds other weights.
    """
    module = module.cpu()
    _fill(module, read_torch_file(path, what=CHECKPOINT).get("state_dict"), source=str(path))
    return module.eval()


def _content(path: str | os.PathLike[str], file: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in ("content", "weights") if key not in file]
    with malformed_explained(str(path)):
        content: dict[str, Any] = {} if missing else dict(json.loads(file["content"]))
    missing += [] if missing else [key for key in KEYS if key not in content]
    if missing:
        raise StoreError(
            f"{path} lacks {', '.join(missing)}",
            expected=f"a whole {FORMAT}",
            remedy="copy or make the file again",
        )
    return content


def _classifier(
    settings: Mapping[str, Any],
    state: object,
    *,
    source: str,
    allow_code: bool,
) -> SlideClassifier:
    """The classifier that a file describes, with its weights, in eval mode.

    Raises:
        PluginError: If the file names code outside slidenet, and `allow_code` is False.
        StoreError: If the settings describe no model, or the weights are not those of the settings.
    """
    with malformed_explained(source):
        network = settings.get("network_settings") or {}
        require_own(settings["network"], network, source=source, allow_code=allow_code)
        network = settings_with_rule(settings["network"], network, "half")
        module = SlideClassifier(**{**settings, "network_settings": network})
    _fill(module, state, source=source)
    return module.eval()


def read_torch_file(path: str | os.PathLike[str], *, what: str) -> dict[str, Any]:
    """The dict in a file of `torch.save`, unpickled without running code.

    Raises:
        StoreError: If there is no such file, or something else is in it.
    """
    content = read_tensor_file(
        path,
        what=what,
        error=StoreError,
        missing=StoreError,
        remedy="copy the file again, or make it again",
    )
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds a {type(content).__name__}", expected=f"a {what}")
    return content


@contextmanager
def malformed_explained(source: str) -> Iterator[None]:
    """Values of another shape than slidenet writes, in whatever way they fail, as one error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{source} does not describe a model ({type(error).__name__}: {error})",
            expected="the settings that slidenet writes there",
            remedy="copy or make the file again, or use the version of slidenet that made it",
        ) from error


def _fill(module: SlideClassifier, state: object, *, source: str) -> None:
    """Loads the weights, all of them.

    Raises:
        StoreError: Naming the file, if a weight is missing, unknown or of another shape.
    """
    if not isinstance(state, Mapping):
        raise StoreError(
            f"{source} holds weights of the type {type(state).__name__}",
            expected="tensors by name",
            remedy="copy or make the file again",
        )
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise StoreError(
            f"{source} does not hold the weights its settings describe ({reason})",
            remedy="train again, or use the version of slidenet that made it",
        ) from error
