"""`SlideClassifier`: any model on bags, any task, as one LightningModule.

B bags, L tiles, A attention maps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from slidenet.core.checks import check_choice
from slidenet.core.errors import LabelError, StoreError
from slidenet.mil import BagBatch, BagModel, BagOutput, CovariateColumn, make_bag_model
from slidenet.mil.covariates import columns_of
from slidenet.mil.recipe import ScalingName
from slidenet.mil.registry import settings_with_rule
from slidenet.tasks import PredictionArrays, Task, task_from_identity
from slidenet.training.bundles.checkpoints import (
    check_same_model,
    plain_settings,
    portable_settings,
)
from slidenet.training.derived import check_numbers, check_target_scale, weighted
from slidenet.training.epoch_metrics import EpochMetrics
from slidenet.training.features.fusion import FeatureBranch, Fusion
from slidenet.training.features.reduction import FeatureReduction
from slidenet.training.features.scaling import FeatureScaling, as_seen, fit_inputs
from slidenet.training.optimiser import (
    REFERENCE_BAGS,
    OptimiserSettings,
    check_precision,
    parameter_groups,
    rate_factor,
)
from slidenet.weights.files import read_tensor_file


class SlideClassifier(LightningModule):
    """A model on bags with its task: loss, metrics, optimiser, predictions.

    Logs `train_loss` (with the network's auxiliary loss), and per validation and test epoch
    `val_loss` / `test_loss` (over all bags at once, without auxiliary loss) and every metric of
    `compute_metrics` as `val_<name>` / `test_<name>`.

    Args:
        task: What is predicted; a `Task` or its `identity()`.
        feature_dim: Length of a tile's feature vector.
        network: Name in `slidenet.mil.BAG_MODELS`.
        network_settings: Keyword arguments of that model; numbers, texts, paths and lists, which
            go into the checkpoint.
        feature_scaling: "standard": the network sees each feature with the mean and deviation of
            the training tiles taken out (`FeatureScaling`); "none": as it is. Default: what suits
            the network, and "none" with `feature_components`, which have a scale of their own.
        feature_components: The network sees so many whitened principal components of the features,
            fitted on training tiles (`FeatureReduction`); None: the features themselves.
        feature_scale: Standard deviation of each of them.
        class_weights: One per class (see `Task.loss`), or None.
        target_offset: Regression only: the network learns (target - offset) / scale. Give the mean
            of the training labels; of several targets a number for each output.
        target_scale: Regression only: give the standard deviation of the training labels; of
            several targets a number for each output.
        target_weights: Several targets only: how much the loss of each counts.
        covariates: How each covariate is encoded (`CovariateColumn`, or as a mapping); their linear
            part is added to the logits. Empty where the model sees tiles only.
        more_feature_dims: Length of a feature vector in each further feature set; each has a
            network of the same kind, whose logits are added.
        **optimiser: Of `OptimiserSettings`.

    Raises:
        ConfigError: For settings out of range, or that do not fit the task or network.
        UnknownNameError: For an unknown network.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        task: Task | dict[str, Any],
        feature_dim: int,
        network: str = "abmil",
        network_settings: dict[str, Any] | None = None,
        *,
        feature_scaling: ScalingName | None = None,
        feature_components: int | None = None,
        feature_scale: float = 1.0,
        class_weights: Sequence[float] | None = None,
        target_offset: float | Sequence[float] = 0.0,
        target_scale: float | Sequence[float] = 1.0,
        target_weights: Sequence[float] | None = None,
        covariates: Sequence[CovariateColumn | dict[str, Any]] = (),
        more_feature_dims: Sequence[int] = (),
        **optimiser: Any,
    ) -> None:
        super().__init__()
        self.task = task if isinstance(task, Task) else task_from_identity(task)
        weighing = {} if target_weights is None else {"target_weights": list(target_weights)}
        if target_weights is not None:
            self.task = weighted(self.task, target_weights)
        self.feature_dim = feature_dim
        given = OptimiserSettings(**optimiser)
        # Rebound: `save_hyperparameters` compares every argument, and arrays do not compare.
        class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.task.check_class_weights(None if class_weights is None else len(class_weights))
        check_numbers(class_weights, feature_scale)
        check_target_scale(self.task, target_offset, target_scale)
        network_settings = settings_with_rule(
            network, plain_settings(network_settings or {}), "keys"
        )

        def make_network(dim: int) -> BagModel:
            return make_bag_model(
                network,
                feature_dim=feature_components or dim,
                num_outputs=self.task.num_outputs,
                **network_settings,
            )

        self.network = make_network(feature_dim)
        recipe = self.network.recipe
        self.settings = given.completed(recipe)
        if feature_scaling is None:
            feature_scaling = recipe.feature_scaling if feature_components is None else "none"
        check_choice(get_args(ScalingName), feature_scaling=feature_scaling)

        def make_inputs(dim: int) -> tuple[FeatureScaling | None, FeatureReduction | None]:
            scaling = FeatureScaling(dim) if feature_scaling == "standard" else None
            if feature_components is None:
                return scaling, None
            return scaling, FeatureReduction(dim, feature_components, feature_scale)

        self.scaling, self.reduction = make_inputs(feature_dim)
        columns = columns_of([vars(c) if isinstance(c, CovariateColumn) else c for c in covariates])
        self.fusion = None
        if columns or more_feature_dims:
            branches = [
                FeatureBranch(make_network(dim), *make_inputs(dim)) for dim in more_feature_dims
            ]
            self.fusion = Fusion(columns, self.task.num_outputs, branches)
        # Refused here rather than after the data is read.
        assert self.settings.learning_rate is not None, "completed"
        self._parameter_groups(self.settings.learning_rate)
        self.register_buffer(
            "class_weights",
            None if class_weights is None else torch.tensor(class_weights),
            persistent=False,
        )
        self.target_offset, self.target_scale = _plain(target_offset), _plain(target_scale)
        # The losses of several targets are on one scale by their weights.
        self.loss_unit = self.target_scale**2 if isinstance(self.target_scale, float) else 1.0
        self.val_metrics = EpochMetrics(self.task, class_weights)
        self.test_metrics = EpochMetrics(self.task, class_weights)
        # Spelled out: under LightningCLI the arguments Lightning would collect are unparsed.
        self.save_hyperparameters(
            {
                "task": dict(self.task.identity()),
                "feature_dim": feature_dim,
                "network": network,
                "network_settings": network_settings,
                "feature_scaling": feature_scaling,
                "feature_components": feature_components,
                "feature_scale": feature_scale,
                **asdict(self.settings),
                "class_weights": class_weights,
                "target_offset": self.target_offset,
                "target_scale": self.target_scale,
                # Only where there are any: models without are described as they always were.
                **({"covariates": [asdict(column) for column in columns]} if columns else {}),
                **({"more_feature_dims": list(more_feature_dims)} if more_feature_dims else {}),
                **weighing,
            }
        )

    @property
    def feature_dims(self) -> tuple[int, ...]:
        """Length of a feature vector in each feature set, the first one's first."""
        return (self.feature_dim, *self.hparams.get("more_feature_dims", ()))

    @property
    def covariate_columns(self) -> tuple[CovariateColumn, ...]:
        """How the covariates it takes are encoded, in order."""
        model = None if self.fusion is None else self.fusion.covariates
        return () if model is None else model.columns

    def forward(self, batch: BagBatch) -> BagOutput:
        """Bags to logits (float32, in the unit of the target for regression) and attention."""
        features = as_seen(batch.features, self.scaling, self.reduction)
        output: BagOutput = self.network(features, batch.grid_xy, batch.mask)
        logits = output.logits.float()
        if self.fusion is not None:
            more, others = self.fusion(batch)
            logits, output = logits + more, replace(output, others=others)
        return replace(output, logits=self._in_unit(logits))

    def fit_covariates(self, values: Tensor, target: Tensor) -> None:
        """Begins the part of the covariates as the fit of the labels by them alone.

        Args:
            values: float32 (N, V), of the training bags; see `BagBatch.covariates`.
            target: Targets of these bags.
        """
        assert self.fusion is not None, "a model with covariates"

        def loss(logits: Tensor) -> Tensor:
            value = self.task.loss(self._in_unit(logits), target, self.class_weights)
            return value / self.loss_unit

        self.fusion.fit_covariates(values, loss)

    def covariate_logits(self, values: Tensor) -> Tensor:
        """What the covariates (N, V) alone say, as logits (N, K) of the task."""
        assert self.fusion is not None, "a model with covariates"
        return self._in_unit(self.fusion.covariate_logits(values))

    def _in_unit(self, logits: Tensor) -> Tensor:
        """Logits of networks as those of the task: in the unit of the target for regression."""
        if self.task.scales_target:
            scaled = logits * _factor(self.target_scale, logits)
            return scaled + _factor(self.target_offset, logits)
        return logits

    @property
    def has_inputs_to_fit(self) -> bool:
        """Whether its networks see something else than the features themselves."""
        return self.scaling is not None or self.reduction is not None

    def fit_inputs(self, bags: Iterable[Sequence[Tensor]]) -> None:
        """Measures what the networks are to see of the features, where it is not they themselves.

        Args:
            bags: Features (tiles, D) of training bags, one tensor per feature set; read again for
                each set, and for components after a scale.

        Raises:
            ConfigError: Features that do not vary, or along fewer directions than components.
        """
        parts = [(self.scaling, self.reduction)]
        if self.fusion is not None:
            parts += [(branch.scaling, branch.reduction) for branch in self.fusion.each_branch]
        for position, (scaling, reduction) in enumerate(parts):
            fit_inputs(scaling, reduction, bags, position)

    def training_step(self, batch: BagBatch, batch_idx: int) -> Tensor:
        """Main loss and the network's own."""
        output, target = self(batch), _target(batch)
        loss = self.task.loss(output.logits, target, self.class_weights)
        loss = loss / self.loss_unit
        auxiliary = self.network.auxiliary_loss(output, target, batch.mask, self.task)
        if auxiliary is not None:
            loss = loss + auxiliary
        if self.fusion is not None:
            more = self.fusion.auxiliary_losses(output.others, batch, target, self.task)
            loss = torch.stack([loss, *more]).sum()
        self.log(
            "train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True
        )
        return loss

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Takes the batch into the metrics of the epoch."""
        self.val_metrics.update(self(batch).logits, _target(batch))

    def on_validation_epoch_end(self) -> None:
        """Logs the loss and the metrics of all bags."""
        self._log_epoch("val", self.val_metrics)

    def test_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Takes the batch into the metrics of the epoch."""
        self.test_metrics.update(self(batch).logits, _target(batch))

    def on_test_epoch_end(self) -> None:
        """Logs the loss and the metrics of all bags."""
        self._log_epoch("test", self.test_metrics)

    def predict_step(self, batch: BagBatch, batch_idx: int) -> PredictionArrays:
        """Predictions of the bags of a batch, on the CPU."""
        return self.task.predict(self(batch).logits.cpu())

    def setup(self, stage: str) -> None:
        """Refuses precisions that would round labels and times along with the features."""
        check_precision(self.trainer.precision)

    def on_train_start(self) -> None:
        """Refuses batches a Cox model cannot learn from."""
        # Risk sets lie within a rank. Batches of more than one size are refused if all hold one.
        if self._bags_per_batch() <= self._num_replicas():
            self.task.check_batch_size(1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW by level, and the schedule by iteration."""
        total_steps = self.trainer.estimated_stepping_batches  # loads the training data
        accumulated = self.trainer.accumulate_grad_batches
        rate = self.settings.learning_rate
        assert rate is not None, "completed"
        if self.settings.scale_learning_rate:
            rate *= self._bags_per_batch() * accumulated / REFERENCE_BAGS
        optimiser = torch.optim.AdamW(self._parameter_groups(rate))
        factor = rate_factor(
            self.settings,
            rate=rate,
            total_steps=total_steps,
            steps_per_epoch=self.trainer.num_training_batches / accumulated,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the settings independent of files that are not needed to load the weights."""
        checkpoint["hyper_parameters"] = portable_settings(checkpoint["hyper_parameters"])

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # the arguments are Lightning's
        cls, checkpoint_path: Any, **settings: Any
    ) -> "SlideClassifier":
        """As Lightning's, but never running code that a file holds, whatever the environment says.

        Raises:
            StoreError: The file is damaged, or holds more than plain values.
        """
        read_tensor_file(
            checkpoint_path, what="checkpoint", error=StoreError, missing=StoreError, plain=True
        )
        made = super().load_from_checkpoint(checkpoint_path, **{**settings, "weights_only": True})
        assert isinstance(made, SlideClassifier)
        return made

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the checkpoint of another task, feature length or network."""
        attached = self._trainer is not None
        source = str((attached and self.trainer.ckpt_path) or "the checkpoint")
        check_same_model(source, checkpoint["hyper_parameters"], self.hparams)

    def _parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        networks = [self.network, *([] if self.fusion is None else self.fusion.networks)]
        groups = [
            group
            for network in networks
            for group in parameter_groups(network, network.layer_levels(), self.settings, rate)
        ]
        if self.fusion is not None and self.fusion.covariates is not None:
            # Its weights are held by the penalty of their fit, which decay would go on from.
            beside = list(self.fusion.covariates.parameters())
            groups.append({"params": beside, "lr": rate, "weight_decay": 0.0})
        return groups

    def _log_epoch(self, stage: str, metrics: EpochMetrics) -> None:
        values = metrics.compute()
        values["loss"] /= self.loss_unit
        metrics.reset()
        # Every rank has computed the same value from all bags; sync_dist keeps Lightning from
        # warning that they might differ.
        self.log_dict({f"{stage}_{name}": v for name, v in values.items()}, sync_dist=True)

    def _bags_per_batch(self) -> float:
        """Over all ranks; the mean where batches have no fixed size."""
        loader: Any = self.trainer.train_dataloader
        size = getattr(loader, "batch_size", None)
        if size:
            return float(size * self._num_replicas())
        return len(loader.dataset) / len(loader)

    def _num_replicas(self) -> int:
        """Processes that see different bags; several ranks may share a slide."""
        kwargs = self.trainer.distributed_sampler_kwargs
        return self.trainer.world_size if kwargs is None else int(kwargs["num_replicas"])


def _target(batch: BagBatch) -> Tensor:
    if batch.target is None:
        raise LabelError(
            f"bags without labels, from {batch.bag_ids[0]!r} on",
            expected="a label for every bag that is trained on, validated or tested",
            remedy="add rows to the table of labels, or predict instead",
        )
    return batch.target


def _plain(numbers: float | Sequence[float]) -> float | list[float]:
    return [float(n) for n in numbers] if isinstance(numbers, Sequence) else float(numbers)


def _factor(numbers: float | list[float], logits: Tensor) -> float | Tensor:
    return numbers if isinstance(numbers, float) else logits.new_tensor(numbers)
