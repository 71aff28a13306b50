"""`Ensemble`: several trained classifiers of one task, applied together, out of one file.

The file holds the bundles as they are. Where they are the folds of a cross-validation it also holds
what each predicted of the bags that it was tested on: the cut-off and the prediction sets follow
from that. No slide or patient is named there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slidenet.core.arrays import Float64Array, FloatArray
from slidenet.core.errors import ConfigError, IdentityMismatchError, StoreError
from slidenet.core.provenance import Identity, canonical_json, describe_difference, software_version
from slidenet.mil import BagBatch
from slidenet.tasks import Calibration, PredictionArrays, Task, task_of
from slidenet.training.bundles.bundle import FORMAT, Bundle, bundle_of, write_torch_file
from slidenet.training.bundles.restoring import (
    Entries,
    malformed_explained,
    read_content,
    read_torch_file,
)

ENSEMBLE_FORMAT = "slidenet ensemble"
VERSION = 1
ENSEMBLE_ENTRIES = Entries(
    ENSEMBLE_FORMAT,
    VERSION,
    file=("members",),
    optional_file=("out_of_fold",),
    content=("names", "targets", "threshold", "training", "versions"),
    optional_content=(),
    by_name=("targets", "training", "versions"),
)
SHARED = ("bag", "min_region_share", "given", "more_features")
"""What of their training the members must have in common: what a bag is, and of what tiles."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What members predicted of bags whose patients they had not seen, N bags.

    Attributes:
        member: int64 (N,), which member predicted it.
        patient: int64 (N,), the same number for bags of one patient.
        target: int64 (N,) class, or float32 (N,) value.
        predicted: float32 (N, K) probabilities, or float32 (N,) values.
    """

    member: Tensor
    patient: Tensor
    target: Tensor
    predicted: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, for a file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trained classifiers of one task and one kind of features; used like a `Bundle`.

    Attributes:
        members: At least two.
        calibration: The cut-offs of the mean; temperatures and baselines are the members' own.
        training: What its members have in common, and what each was trained with.
        versions: Software that made it.
        out_of_fold: Of each target ("" where there is one alone), where the members are folds of a
            cross-validation.
    """

    members: tuple[Bundle, ...]
    calibration: Calibration
    training: Identity
    versions: Mapping[str, str]
    out_of_fold: Mapping[str, OutOfFold] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What it predicts, with label names."""
        return self.members[0].task

    @property
    def features_identity(self) -> Identity:
        """What features it takes."""
        return self.members[0].features_identity

    @property
    def covariate_kinds(self) -> dict[str, bool]:
        """The covariates it takes, in order: whether each is a category."""
        return self.members[0].covariate_kinds

    @property
    def more_identities(self) -> tuple[Identity, ...]:
        """What features it takes beside the first ones, in order."""
        return self.members[0].more_identities

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of each member; see `Bundle.digests`."""
        return tuple(digest for member in self.members for digest in member.digests)

    def to(self, device: torch.device | str) -> None:
        """Moves the networks to where they are to run."""
        for member in self.members:
            member.to(device)

    def predict_members(self, batch: BagBatch) -> tuple[PredictionArrays, ...]:
        """Predictions of the bags of a batch by each member."""
        return tuple(member.predict(batch) for member in self.members)

    def predict(self, batch: BagBatch) -> PredictionArrays:
        """The mean prediction of the members, of the bags of a batch."""
        return mean_of(self.predict_members(batch))


def mean_of(members: Sequence[PredictionArrays]) -> PredictionArrays:
    """The mean of what several models predict of the same bags: probabilities, values, risks."""

    def mean(arrays: Sequence[FloatArray]) -> FloatArray:
        """In float64, given back in the type that came."""
        return np.asarray(np.mean(arrays, axis=0, dtype=np.float64), arrays[0].dtype)

    return PredictionArrays.combine(members, mean)


def disagreement(members: Sequence[PredictionArrays]) -> Float64Array:
    """How far the members are apart on each of B bags.

    Returns:
        (B,) standard deviation over the members: of the probability of a class (the class, or the
        time of a survival curve, where it is greatest), of the value, or of the risk.
    """
    first = members[0]
    name = next(n for n in ("probabilities", "value", "survival", "risk") if n in first.arrays)
    spread = np.std([m.arrays[name] for m in members], axis=0, dtype=np.float64)
    return np.asarray(spread.reshape(len(spread), -1).max(axis=1))


def check_members(bundles: Mapping[str, Bundle]) -> None:
    """Refuses models that cannot be one ensemble.

    Args:
        bundles: By name, for messages.

    Raises:
        ConfigError: Fewer than two; other tasks, kinds of bags or lengths of features.
        IdentityMismatchError: Features made with other settings, naming both and what differs.
    """
    if len(bundles) < 2:
        raise ConfigError(
            f"an ensemble of {len(bundles)} model",
            expected="at least two bundles, or the folder of a cross-validation",
        )
    (first_name, first), *others = bundles.items()
    for name, bundle in others:
        if bundle.task.identity() != first.task.identity():
            raise ConfigError(
                f"{name} predicts {bundle.task.describe()}, and {first_name} "
                f"{first.task.describe()}",
                expected="models of one task, with the same classes in the same order",
            )
        difference = describe_difference(first.features_identity, bundle.features_identity)
        if difference or bundle.module.feature_dim != first.module.feature_dim:
            lengths = f"{first.module.feature_dim} and {bundle.module.feature_dim} per tile"
            raise IdentityMismatchError(
                f"{first_name} and {name} take different features ({difference or lengths})",
                expected="models trained on features made with the same settings",
            )
        if list(bundle.covariate_kinds.items()) != list(first.covariate_kinds.items()):
            raise ConfigError(
                f"{name} takes the covariates {list(bundle.covariate_kinds)}, and {first_name} "
                f"{list(first.covariate_kinds)}",
                expected="models of the same covariates, in the same order",
            )
        ours, theirs = (
            {key: b.training.get(key) or None for key in SHARED} for b in (first, bundle)
        )
        if ours != theirs:
            raise ConfigError(
                f"{first_name} and {name} take different bags "
                f"({describe_difference(ours, theirs)})",
                expected="models of the same kind of bag (--data.bag)",
            )


def save_ensemble(
    path: str | os.PathLike[str],
    members: Sequence[str | os.PathLike[str]],
    *,
    names: Sequence[str],
    calibration: Calibration,
    training: Identity,
    out_of_fold: Mapping[str, OutOfFold] | None = None,
) -> None:
    """Writes an ensemble, atomically; the same members give the same bytes.

    Args:
        path: Where to.
        members: Files of `save_bundle` that `check_members` accepts.
        names: What each is called.
        calibration: The cut-offs of the mean.
        training: Anything to remember, as JSON.
        out_of_fold: See `Ensemble`.

    Raises:
        StoreError: A member cannot be read.
        OutputError: If the file cannot be written.
    """
    content = {
        "names": list(names),
        "threshold": calibration.threshold,
        "targets": {name: one.threshold for name, one in calibration.targets.items()},
        "training": training,
        "versions": {name: software_version(name) for name in ("slidenet", "torch", "lightning")},
    }
    file: dict[str, Any] = {
        "format": ENSEMBLE_FORMAT,
        "version": VERSION,
        "content": canonical_json(content),
        "members": [read_torch_file(member, what=FORMAT) for member in members],
    }
    if out_of_fold:
        file["out_of_fold"] = {name: rows.tensors() for name, rows in out_of_fold.items()}
    write_torch_file(path, file)


def load_bundle(path: str | os.PathLike[str], *, allow_code: bool = False) -> Bundle | Ensemble:
    """Reads a bundle or an ensemble.

    Args:
        path: Written by `save_bundle` or `save_ensemble`.
        allow_code: Whether it may name a network or an attention pattern outside slidenet.

    Raises:
        PluginError: It names code outside slidenet, and `allow_code` is False.
        StoreError: If it is missing, neither of both, of a newer version, or incomplete.
    """
    file = read_torch_file(path, what=FORMAT)
    if file.get("format") != ENSEMBLE_FORMAT:
        return bundle_of(path, file, allow_code=allow_code)
    content = read_content(file, ENSEMBLE_ENTRIES, source=str(path))
    with malformed_explained(str(path)):
        names = [f"{path}, member {name}" for name in content["names"]]
        parts = dict(zip(names, file["members"], strict=True))
        if len(parts) < len(names):
            raise ValueError("two members of one name")
        members = {
            name: bundle_of(name, part, allow_code=allow_code) for name, part in parts.items()
        }
    check_members(members)
    bundles = tuple(members.values())
    with malformed_explained(str(path)):
        for key in SHARED:
            ours, theirs = content["training"].get(key), bundles[0].training.get(key)
            if (ours or None) != (theirs or None):
                raise ValueError(f"training.{key} is {ours!r}, and that of its members {theirs!r}")
        targets = {name: _cut_off(cut) for name, cut in content["targets"].items()}
        calibration = replace(_cut_off(content["threshold"]), targets=targets)
        bundles[0].task.check_calibration(calibration)
        rows = dict(file.get("out_of_fold", {}))
        return Ensemble(
            _at_common_times(bundles),
            calibration,
            content["training"],
            content["versions"],
            {name: _out_of_fold(name, part, bundles, str(path)) for name, part in rows.items()},
        )


def _cut_off(value: object) -> Calibration:
    if value is None or (isinstance(value, float | int) and not isinstance(value, bool)):
        return Calibration(threshold=value)
    raise TypeError(f"a cut-off is {value!r}")


def _at_common_times(members: tuple[Bundle, ...]) -> tuple[Bundle, ...]:
    """Members whose Cox models report survival at the times of the first, to be averaged."""
    baselines = [member.calibration.baseline for member in members]
    if baselines[0] is None or None in baselines:
        return members
    times = baselines[0].report_times
    return tuple(
        replace(
            member,
            calibration=replace(member.calibration, baseline=replace(baseline, report_times=times)),
        )
        for member, baseline in zip(members, baselines, strict=True)
        if baseline is not None
    )


def _out_of_fold(target: str, found: object, members: Sequence[Bundle], source: str) -> OutOfFold:
    """The out-of-fold predictions of a target in a file, checked.

    Raises:
        StoreError: They are something else, or do not fit the members.
    """
    names = [f.name for f in fields(OutOfFold)]
    if not (isinstance(found, Mapping) and sorted(map(str, found)) == sorted(names)):
        raise _unfit(source, "they are not complete")
    if not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise _unfit(source, "they are no tensors")
    rows = OutOfFold(**found)
    task, count = task_of(members[0].task, target), rows.member.numel()
    shape = (count, task.num_classes) if task.exclusive_classes else (count,)
    real, whole = torch.float32, torch.int64
    wanted = {
        "member": (whole, (count,)),
        "patient": (whole, (count,)),
        "target": (whole if task.exclusive_classes else real, (count,)),
        "predicted": (real, shape),
    }
    for name, (dtype, shape) in wanted.items():
        tensor = found[name]
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise _unfit(source, f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
        if not bool(tensor.isfinite().all()):
            raise _unfit(source, f"{name} is not finite")
    limits = {"member": len(members)}
    limits |= {"target": task.num_classes} if task.exclusive_classes else {}
    for name, limit in limits.items():
        if count and not (int(found[name].min()) >= 0 and int(found[name].max()) < limit):
            raise _unfit(source, f"{name} is not in 0 to {limit - 1}")
    if not count:
        raise _unfit(source, "they are empty")
    return rows


def _unfit(source: str, fault: str) -> StoreError:
    return StoreError(
        f"the out-of-fold predictions in {source} do not fit its models: {fault}",
        remedy="copy or make the file again",
    )
