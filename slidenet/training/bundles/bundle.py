"""Trained classifiers out of files: bundles, which are applied, and checkpoints of a training.

A bundle is one file: weights, task, features identity, threshold, temperature. It is what
`torch.save` writes, of tensors and one JSON text, and is read without running code. The same model
gives the same bytes: no dates and no paths are kept.
"""

import hashlib
import io
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from slidenet.core.checks import check_positive
from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.provenance import (
    IDENTITY_HASH_LENGTH,
    Identity,
    canonical_json,
    software_version,
)
from slidenet.mil import BagBatch
from slidenet.mil.contract import BagKind
from slidenet.stores.atomic import atomic_path
from slidenet.tasks import BreslowBaseline, Calibration, PredictionArrays, Task
from slidenet.tasks.calibration import UNCALIBRATED
from slidenet.training.bundles.checkpoints import portable_settings
from slidenet.training.bundles.restoring import Entries, malformed_explained, read_content, restore
from slidenet.training.features.statistics import FeatureStatistics
from slidenet.training.module import SlideClassifier
from slidenet.weights.files import digest_of_state

FORMAT = "slidenet bundle"
VERSION = 1
STATISTICS = "statistics"
"""Key of a bundle file, where it has them."""
KEYS = (
    "settings",
    "features_recipe",
    "threshold",
    "temperature",
    "baseline",
    "training",
    "versions",
)
"""What every bundle says."""
OPTIONAL_KEYS: tuple[str, ...] = ("targets",)
"""What newer ones may say besides. A bundle with any other entry means something this version does
not know, and is refused."""


BUNDLE_ENTRIES = Entries(
    FORMAT,
    VERSION,
    file=("weights",),
    optional_file=(STATISTICS,),
    content=KEYS,
    optional_content=OPTIONAL_KEYS,
    by_name=("settings", "features_recipe", "training", "versions"),
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
        return {c.name: c.categories is not None for c in self.module.covariate_columns}

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

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of each model in it: one; see `model_digest`."""
        return (model_digest(self.module, self.calibration),)

    @torch.inference_mode()
    def predict(self, batch: BagBatch) -> PredictionArrays:
        """Predictions of the bags of a batch, with temperature and baseline applied."""
        logits = self.module(batch.to(self.module.device)).logits.float().cpu()
        return self.task.predict(logits, self.calibration)


def model_digest(module: SlideClassifier, calibration: Calibration) -> str:
    """What tells a trained model from others, whatever software wrote its file: 16 hex digits."""
    digest = hashlib.sha256(digest_of_state(module.state_dict()).encode())
    more = {**asdict(calibration), "network": str(module.hparams["network"])}
    digest.update(canonical_json({**more, "task": module.task.identity()}).encode())
    return digest.hexdigest()[:IDENTITY_HASH_LENGTH]


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
    content = {
        "settings": portable_settings(module.hparams),
        "features_recipe": features_identity,
        **_plain_calibration(calibration),
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
    """The bundle in a file that was read, whoever made it.

    Args:
        path: Where it was read, for messages.
        file: What `save_bundle` wrote.
        allow_code: Whether it may name a network or an attention pattern outside slidenet.

    Raises:
        PluginError: It names code outside slidenet, and `allow_code` is False.
        StoreError: If it is no bundle, of a newer version, incomplete, or says what no bundle can
            say.
    """
    source = str(path)
    if file.get("format") != FORMAT:
        raise StoreError(
            f"{source} is no {FORMAT}",
            expected="a file of `slidenet train` or `slidenet crossval` (save_bundle)",
        )
    content = read_content(file, BUNDLE_ENTRIES, source=source)
    module = restore(content["settings"], file["weights"], source=source, allow_code=allow_code)
    with malformed_explained(source):
        more, wanted = content["training"].get("more_features", []), len(module.feature_dims) - 1
        if not isinstance(more, list) or [type(one) for one in more] != [dict] * wanted:
            raise TypeError(f"more_features describes other than {wanted} further feature sets")
        check_training(content["training"])
        check_recipes(content["features_recipe"], *more)
    return Bundle(
        module=module,
        features_identity=content["features_recipe"],
        calibration=_calibration(content, module.task, source),
        training=content["training"],
        versions=content["versions"],
        statistics=FeatureStatistics.from_tensors(
            file.get(STATISTICS), module.feature_dim, source=source
        ),
    )


def check_training(training: Mapping[str, Any]) -> None:
    """Refuses what no training can have left, where the model is applied by it.

    Args:
        training: Of a file; what older versions did not write may be absent.

    Raises:
        ValueError: Naming the entry.
    """
    kinds = get_args(BagKind)
    bag = training.get("bag", "slide")
    if bag not in kinds:
        raise ValueError(f"training.bag is {bag!r}, none of {', '.join(kinds)}")
    share: Any = training.get("min_region_share", 0.0 if bag in kinds[:2] else None)
    if type(share) not in (int, float) or not 0 <= share <= 1:
        raise ValueError(f"training.min_region_share is {share!r}")
    seen, given = training.get("seen", {}), training.get("given", {})
    listed = seen.values() if isinstance(seen, dict) else [None]
    if not all(isinstance(d, list) and all(isinstance(one, str) for one in d) for d in listed):
        raise ValueError("training.seen holds other than lists of digests by name")
    sizes: Any = given.values() if isinstance(given, dict) else [None]
    if not all(type(size) in (int, float) and 0 < size < math.inf for size in sizes):
        raise ValueError(f"training.given is {given!r}, no sizes by name")
    if not isinstance(training.get("run", ""), str):
        raise ValueError(f"training.run is {training['run']!r}")


def check_recipes(*identities: Mapping[str, Any]) -> None:
    """Refuses what cannot say how features were made.

    Raises:
        ValueError: Naming the part.
    """
    for identity in identities:
        for part in ("tiles", "tile_encoder"):
            if not isinstance(identity.get(part, {}), dict):
                raise ValueError(f"{part} of the features are {identity[part]!r}")


def _calibration(content: Mapping[str, Any], task: Task, source: str) -> Calibration:
    """Temperature, threshold and baseline, each a number that the task can use.

    Raises:
        StoreError: Naming the file and the value.
    """
    with malformed_explained(source):
        calibration = _read_calibration(content)
        task.check_calibration(calibration)
    return calibration


def _read_calibration(content: Mapping[str, Any]) -> Calibration:
    check_positive(temperature=content["temperature"])
    baseline = content["baseline"]
    return Calibration(
        content["temperature"],
        content["threshold"],
        None
        if baseline is None
        else BreslowBaseline(**{name: tuple(values) for name, values in baseline.items()}),
        {name: _read_calibration(one) for name, one in content.get("targets", {}).items()},
    )


def _plain_calibration(calibration: Calibration) -> dict[str, Any]:
    """A calibration as JSON; of several targets one for each, by its name."""
    baseline = calibration.baseline
    targets = {name: _plain_calibration(one) for name, one in calibration.targets.items()}
    return {
        "threshold": calibration.threshold,
        "temperature": float(calibration.temperature),
        "baseline": None if baseline is None else asdict(baseline),
        **({"targets": targets} if targets else {}),
    }
