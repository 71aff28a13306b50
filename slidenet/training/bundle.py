"""A trained classifier as one file: weights, task, features identity, threshold, temperature.

The file is what `torch.save` writes, of tensors and one JSON text, and is read without running
code. The same model gives the same bytes: no dates and no paths are kept.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.provenance import Identity, canonical_json, software_version
from slidenet.mil import BagBatch
from slidenet.stores.atomic import atomic_path
from slidenet.tasks import BreslowBaseline, Calibration, PredictionArrays, Task
from slidenet.tasks.calibration import UNCALIBRATED
from slidenet.training.checkpoints import portable_settings
from slidenet.training.loading import fill, make_classifier, read_torch_file
from slidenet.training.module import SlideClassifier

FORMAT = "slidenet bundle"
VERSION = 1
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
    """

    module: SlideClassifier
    features_identity: Identity
    calibration: Calibration
    training: Identity
    versions: Mapping[str, str]

    @property
    def task(self) -> Task:
        """What it predicts, with label names."""
        return self.module.task

    @torch.inference_mode()
    def predict(self, batch: BagBatch) -> PredictionArrays:
        """Predictions of the bags of a batch, with temperature and baseline applied."""
        return self.task.predict(self.module(batch).logits.cpu(), self.calibration)


def save_bundle(
    path: str | os.PathLike[str],
    module: SlideClassifier,
    *,
    features_identity: Identity,
    calibration: Calibration = UNCALIBRATED,
    training: Identity | None = None,
) -> None:
    """Writes a bundle, atomically.

    Args:
        path: Where to.
        module: The trained classifier.
        features_identity: What features it takes.
        calibration: Temperature, threshold and baseline.
        training: Anything to remember about the training, as JSON.

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
    buffer = io.BytesIO()  # under a file's own name torch would write that name into the archive
    torch.save({"format": FORMAT, "version": VERSION, "content": text, "weights": weights}, buffer)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_bundle(path: str | os.PathLike[str], *, allow_code: bool = False) -> Bundle:
    """Reads a bundle.

    Args:
        path: Written by `save_bundle`.
        allow_code: Whether it may name a network or an attention pattern outside slidenet.

    Raises:
        PluginError: It names code outside slidenet, and `allow_code` is False.
        StoreError: If it is missing, no bundle, of a newer version, or incomplete.
    """
    file = read_torch_file(path, what=FORMAT)
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
    module = make_classifier(content["settings"], source=str(path), allow_code=allow_code)
    fill(module, file["weights"], source=str(path))
    baseline = content["baseline"]
    return Bundle(
        module=module.eval(),
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
    )


def _content(path: str | os.PathLike[str], file: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in ("content", "weights") if key not in file]
    content: dict[str, Any] = {} if missing else json.loads(file["content"])
    missing += [] if missing else [key for key in KEYS if key not in content]
    if missing:
        raise StoreError(
            f"{path} lacks {', '.join(missing)}",
            expected=f"a whole {FORMAT}",
            remedy="copy or make the file again",
        )
    return content
