"""A Lightning strategy for slides too long for one device: a grid of data x sequence ranks."""

from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.device_mesh import DeviceMesh
from torchmetrics import Metric

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, ParallelError
from slidenet.parallel import apply_sequence_parallel, make_mesh, release_sequence_parallel
from slidenet.parallel.mesh import DATA, TIMEOUT_S
from slidenet.slide_encoders import LongNetViT
from slidenet.training.ranks import agree_on_run

TRAINER_SETTINGS = (
    "max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "check_val_every_n_epoch", "val_check_interval",
    "limit_train_batches", "limit_val_batches", "num_sanity_val_steps",
)  # fmt: skip
"""Those that decide which steps a rank takes, and so which others wait for."""


class SequenceParallelStrategy(DDPStrategy):
    """DDP in which `sequence` neighbouring ranks share each slide.

    Ranks of one row get the same bags and compute the same loss, each with its chunk of the tokens;
    rows get different bags. DDP's mean of the gradients over all ranks is the gradient of the mean
    loss over rows (see `slidenet.parallel.sync_gradients`), so everything DDP can do stays: mixed
    precision, accumulated gradients, clipping, checkpoints. The metrics of an epoch are gathered
    over rows only, so that no bag counts twice. After `fit` the model is one of a single device.

    `configs/train/sequence_parallel.yaml` puts it on top of the config of a LongNet.

    Args:
        sequence: Ranks that share a slide; the number of all ranks is a multiple of it.
        timeout_s: A rank that waits longer than this for another ends with an error.
        **settings: Of `DDPStrategy`.

    Raises:
        ParallelError: If the ranks do not divide into rows of `sequence`.
    """

    def __init__(self, sequence: int = 2, timeout_s: float = TIMEOUT_S, **settings: Any) -> None:
        super().__init__(timeout=timedelta(seconds=timeout_s), **settings)
        check_whole(error=ParallelError, sequence=sequence)
        self.sequence = sequence
        self._mesh: DeviceMesh | None = None

    def set_world_ranks(self) -> None:
        """Refuses a number of ranks that makes no grid, before any other rank is started."""
        super().set_world_ranks()
        ranks = self.num_nodes * self.num_processes
        if ranks % self.sequence:
            raise ParallelError(
                f"{self.sequence} sequence ranks of {ranks} ranks",
                expected="a number of ranks that is a multiple of the sequence ranks",
                remedy=f"set trainer.devices to {-(-ranks // self.sequence) * self.sequence}, or "
                "trainer.strategy.sequence to a divisor of the number of devices",
            )

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Ranks of one row draw the same bags."""
        ranks = self.num_nodes * self.num_processes
        return {
            "num_replicas": ranks // self.sequence,
            "rank": self.global_rank // self.sequence,
        }

    def setup_distributed(self) -> None:
        """Lets the ranks meet, and puts them on the grid."""
        super().setup_distributed()
        self._mesh = make_mesh(sequence=self.sequence)

    def model_to_device(self) -> None:
        """Moves the model, then lets its slides be shared, before DDP wraps it."""
        super().model_to_device()
        module = self.lightning_module
        assert module is not None
        assert self._mesh is not None
        refusal = _network_refusal(module)
        agree_on_run({} if refusal is not None else _settings_of_run(module), refusal)
        apply_sequence_parallel(module, self._mesh)
        for metric in _metrics(module):
            metric.process_group = self._mesh.get_group(DATA)

    def teardown(self) -> None:
        """Gives the model back as one of a single device."""
        module = self.lightning_module
        super().teardown()
        if module is not None:
            release_sequence_parallel(module)
            for metric in _metrics(module):
                metric.process_group = None


def _metrics(module: LightningModule) -> list[Metric]:
    return [part for part in module.modules() if isinstance(part, Metric)]


def _network_refusal(module: LightningModule) -> ConfigError | None:
    if any(isinstance(part, LongNetViT) for part in module.modules()):
        return None
    network = module.hparams.get("network", type(module).__name__)
    return ConfigError(
        f"the network {network!r} cannot share a slide among ranks",
        expected="a LongNet slide encoder: the network 'longnet' or 'gigapath'",
        remedy="set model.network to one of them, or trainer.strategy to ddp",
    )


def _settings_of_run(module: LightningModule) -> dict[str, object]:
    """What the ranks of one run must have been started with alike, as steps do not show it all."""
    trainer = module.trainer
    data = getattr(trainer, "datamodule", None)
    identity = getattr(data, "identity", None)
    return {
        "model": dict(module.hparams),
        "data": identity() if callable(identity) else type(data).__name__,
        "trainer": {name: str(getattr(trainer, name)) for name in TRAINER_SETTINGS},
        "--out": str(trainer.default_root_dir),
    }
