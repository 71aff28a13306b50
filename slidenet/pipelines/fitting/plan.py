"""How the models of a run are made and trained, and what makes two runs the same."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from slidenet.core.provenance import Identity, canonical_json
from slidenet.core.window_rule import WindowRule, rule_of_text
from slidenet.data.datamodule import BagDataModule
from slidenet.data.settings import DataSettings
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.mil.registry import plugin_identity, settings_with_rule
from slidenet.pipelines.fitting.arguments import parameters, typed_arguments
from slidenet.pipelines.fitting.claim import read_claim
from slidenet.pipelines.fitting.defaults import (
    MARK,
    OLD_EPOCHS,
    OLD_MODEL,
    OLD_NETWORKS,
    OLD_PATIENCE,
    Defaults,
    FitLength,
)
from slidenet.pipelines.fitting.loggers import LoggedTrainer
from slidenet.pipelines.fitting.trainer import FIXED_TRAINER, TrainerFactory
from slidenet.pipelines.settings import divide_keywords, settings_with
from slidenet.training import SlideClassifier

S = TypeVar("S")

Keep = Literal["best", "last"]

DERIVED_FROM_DATA = {
    "task", "feature_dim", "class_weights", "target_offset", "target_scale", "target_weights",
    "covariates", "more_feature_dims",
}  # fmt: skip
"""Arguments of `SlideClassifier` that are no setting."""


@dataclass(frozen=True)
class TrainSettings:
    """What belongs to a run as a whole.

    Args:
        seed: Decides split, order of bags, tiles drawn, initial weights and dropout.
        monitor: Logged value that chooses the best epoch; default: the task's usual one.
        patience: Epochs without improvement after which a fit stops; auto: as many as make 150
            steps, at least 5; null: never.
        keep: Which epoch's weights are the model: the best by monitor, or the last.
        threshold_rule: How the cut-off of a binary task is chosen on val.
        calibrate: Fit a temperature on val.
        strict: Refuse a cohort the audit warns about.
        ablation: Where a model has several inputs (covariates, feature sets) or targets, train it
            without each input and for each target alone too, and say what each adds.
        probes: Fit simple models of the mean features of each bag beside the network, on the same
            splits, and report whether it beats them.
    """

    seed: int = 0
    monitor: str | None = None
    patience: int | Literal["auto"] | None = "auto"
    keep: Keep = "best"
    threshold_rule: ThresholdRule = "youden"
    calibrate: bool = False
    strict: bool = False
    ablation: bool = True
    probes: bool = True


@dataclass(frozen=True)
class TrainingPlan:
    """How the models of a run are made and trained.

    Attributes:
        model: Arguments of `SlideClassifier`, without those that follow from the data.
        trainer: Makes the Trainer of each fit.
        settings: What belongs to the run as a whole.
        window_rule: What windows of attention count where the model's settings do not say.
        defaults: What settings that are left open mean.
    """

    model: Mapping[str, Any]
    trainer: TrainerFactory
    settings: TrainSettings = TrainSettings()
    window_rule: WindowRule = "keys"
    defaults: Defaults = 2

    def with_seed(self, seed: int) -> "TrainingPlan":
        """The same plan with another seed."""
        return replace(self, settings=replace(self.settings, seed=seed))

    def as_begun(self, path: Path) -> "TrainingPlan":
        """The same plan, meant as it was when an older version began what it goes on with.

        Args:
            path: The file that says what the folder holds, if there is one.

        Raises:
            StoreError: The file is damaged.
        """
        if not path.is_file():
            return self
        text = canonical_json(read_claim(path))
        return replace(
            self,
            window_rule="half" if rule_of_text(text) == "half" else self.window_rule,
            defaults=2 if f'"{MARK}":' in text else 1,
        )

    def batches_as_begun(self, data: BagDataModule) -> BagDataModule:
        """The bags in the batches that the version made which began the run."""
        return data.with_batches_of_version_1() if self.defaults == 1 else data

    def model_settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `SlideClassifier`, some replaced, that say what windows count."""
        model = self._recorded_settings(overrides)
        old = OLD_NETWORKS.get(str(model.get("network", "abmil")), {})
        if self.defaults == 1 and old:
            model["network_settings"] = {**old, **(model.get("network_settings") or {})}
        return model

    def _recorded_settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The same as the files of a run say it."""
        model = with_overrides(self.model, overrides)
        if self.defaults == 1:
            model |= {n: v for n, v in OLD_MODEL.items() if model.get(n) is None}
        network, settings = str(model.get("network", "abmil")), model.get("network_settings")
        if isinstance(settings, Mapping):
            model["network_settings"] = settings_with_rule(network, settings, self.window_rule)
        return model

    def identity(self, data: BagDataModule, overrides: Mapping[str, Any]) -> Identity:
        """Everything that decides the weights a run ends with, as JSON."""
        model = self._recorded_settings(overrides)
        trainer, patience = dict(self.trainer.identity), self.settings.patience
        if self.defaults == 1:
            del model["feature_scaling"]  # which files of that age do not know
            patience = OLD_PATIENCE if patience == "auto" else patience
            if trainer["max_epochs"] is None:
                trainer["max_epochs"] = OLD_EPOCHS
        network, settings = model.get("network", "abmil"), model.get("network_settings")
        return {
            "data": data.identity(),
            "model": model,
            **plugin_identity(str(network), settings if isinstance(settings, Mapping) else {}),
            "trainer": trainer,
            "seed": self.settings.seed,
            "monitor": self.settings.monitor,
            "patience": patience,
            "keep": self.settings.keep,
            **({MARK: self.defaults} if self.defaults > 1 else {}),
        }

    def fit_length(self, batches: int) -> FitLength:
        """How long a fit lasts that has so many batches per epoch."""
        return self.trainer.fit_length(batches, self.settings.patience, self.defaults)


def read_arguments(
    settings: TrainSettings | None,
    keywords: Mapping[str, Any],
    *,
    data: DataSettings | Mapping[str, Any] | None,
    model: Mapping[str, Any] | None,
    trainer: Mapping[str, Any] | None,
    folds: S | Mapping[str, Any] | None = None,
    folds_type: type[S] | None = None,
) -> tuple[DataSettings, TrainingPlan, S | None]:
    """The data, the plan and the folds that `train` or `crossval` was called with.

    Args:
        settings: What belongs to the run; None: the defaults.
        keywords: Any further settings; each is known by one of the others.
        data: The bags; or fields of `DataSettings`.
        model: Arguments of `SlideClassifier`.
        trainer: Arguments of the Trainer.
        folds: Settings of the folds; or fields of them. None: the defaults.
        folds_type: Class of the settings of the folds; None: there are no folds.

    Returns:
        The settings of the data, the plan, and the settings of the folds, where there are any.

    Raises:
        UnknownNameError: A setting nobody knows.
        ConfigError: A value that does not fit its setting, or a setting given twice.
    """
    if isinstance(data, DataSettings):
        # A keyword replaces a field, but for `seed`, which is the run's: the data keep their own.
        kept = [f.name for f in fields(data) if f.name not in keywords or f.name == "seed"]
        data = {name: getattr(data, name) for name in kept}
    given_folds, folds = (folds, None) if isinstance(folds, Mapping) else ({}, folds)
    parts = divide_keywords(
        keywords,
        {
            "settings": ({}, [f.name for f in fields(TrainSettings)]),
            "data": (data or {}, parameters(DataSettings)),
            "model": (model or {}, parameters(SlideClassifier) - DERIVED_FROM_DATA),
            "trainer": (trainer or {}, parameters(LoggedTrainer) - FIXED_TRAINER),
            "folds": (given_folds, parameters(folds_type) if folds_type else []),
        },
    )
    settings = _checked("run", TrainSettings, settings, parts["settings"])
    bags = DataSettings(**typed_arguments("data", DataSettings, parts["data"]))
    if bags.seed is None:
        bags = replace(bags, seed=settings.seed)
    network = typed_arguments("model", SlideClassifier, parts["model"], skip=DERIVED_FROM_DATA)
    plan = TrainingPlan(network, TrainerFactory(parts["trainer"]), settings)
    if folds_type is None:
        return bags, plan, None
    return bags, plan, _checked("folds", folds_type, folds, parts["folds"])


def _checked(what: str, kind: type[S], settings: S | None, keywords: Mapping[str, Any]) -> S:
    """The settings with keywords in place, each value of the type of its field.

    Raises:
        UnknownNameError: There is no such field.
        ConfigError: A value does not fit its field.
    """
    found: Any = settings_with(kind, settings, keywords)
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    typed = typed_arguments(what, kind, values)
    # Typing would read the texts inside a mapping, such as `search`, as YAML: "off" is no False.
    return kind(**{n: v if isinstance(v, Mapping) else typed[n] for n, v in values.items()})


def with_overrides(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced: `{"learning_rate": 1e-4, "network_settings.hidden_dim": 64}`."""
    merged = {name: dict(v) if isinstance(v, Mapping) else v for name, v in settings.items()}
    for dotted, value in overrides.items():
        name, _, inner = dotted.partition(".")
        if inner:
            merged[name] = {**(merged.get(name) or {}), inner: value}
        else:
            merged[name] = value
    return merged
