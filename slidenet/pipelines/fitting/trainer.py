"""Lightning's Trainer from its settings, a new one for every fit."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar

from slidenet.core.errors import ConfigError, MissingExtraError
from slidenet.core.provenance import Identity
from slidenet.pipelines.fitting.arguments import argument_parser, typed_arguments
from slidenet.pipelines.fitting.defaults import Defaults, FitLength, fit_length
from slidenet.pipelines.fitting.loggers import LoggedTrainer, loggers_of
from slidenet.training import quiet_lightning
from slidenet.training.bundles.kept_epochs import CheckpointFiles
from slidenet.training.ranks import meet_ranks, refuse_ranks

FIXED_TRAINER = frozenset({"default_root_dir", "enable_checkpointing", "use_distributed_sampler"})
"""No settings: the folder is --out, and the samplers of bags know about ranks."""

WHERE = ("accelerator", "devices", "num_nodes", "strategy", "plugins", "precision")
"""Settings that say where a fit runs, and with how many ranks."""

TRAINER_DEFAULTS = {"enable_model_summary": False, "log_every_n_steps": 1}

WITHOUT_EFFECT = {
    "accelerator", "devices", "num_nodes", "strategy", "logger", "enable_progress_bar",
    "enable_model_summary", "log_every_n_steps", "profiler", "enable_autolog_hparams",
    "model_registry", "callbacks",
}  # fmt: skip
"""Trainer settings left out of the identity of a run: where it runs and what it reports."""


class TrainerFactory:
    """Makes a Trainer for each fit: one, its loggers and its callbacks keep the state of a fit.

    Args:
        settings: Arguments of the Trainer, without `FIXED_TRAINER`. Loggers and callbacks are
            objects, or `{"class_path": ..., "init_args": ...}` as in YAML.

    Attributes:
        identity: The settings that change the numbers, where they differ from the defaults.

    Raises:
        UnknownNameError, ConfigError: Settings the Trainer does not know.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = typed_arguments(
            "trainer", LoggedTrainer, settings, skip=FIXED_TRAINER, defaults=TRAINER_DEFAULTS
        )
        plain = typed_arguments("trainer", LoggedTrainer, {}, skip=FIXED_TRAINER)
        self.identity: Identity = {
            name: value if isinstance(value, int | float | str | bool | None) else str(value)
            for name, value in self._settings.items()
            if name not in WITHOUT_EFFECT and (value != plain[name] or name == "max_epochs")
        }

    def uses_gpu(self) -> bool:
        """Whether Trainers made here take an NVIDIA GPU."""
        import torch

        accelerator = self._settings["accelerator"]
        return accelerator in ("gpu", "cuda") or (
            accelerator == "auto" and torch.cuda.is_available()
        )

    def check_one_device(self) -> None:
        """Refuses several devices for a fit on a cluster, where no other rank could be started.

        Raises:
            ConfigError: As many are asked for.
        """
        devices = self._settings["devices"]
        listed = devices if isinstance(devices, list) else str(devices).strip("[], ").split(",")
        counted = str(devices).isdecimal() and int(devices) > 1
        if counted or len(listed) > 1 or self._settings["num_nodes"] > 1:
            raise ConfigError(
                f"--runner ray with --trainer.devices {devices}",
                expected="one device for each fit: a cluster makes several fits at a time",
                remedy="leave out --trainer.devices, or leave out --runner ray",
            )

    def fit_length(
        self, batches: int, patience: int | Literal["auto"] | None, defaults: Defaults
    ) -> FitLength:
        """How long a fit lasts.

        Args:
            batches: In one epoch, over all devices.
            patience: As given.
            defaults: What settings that are left open mean.
        """
        settings = self._settings
        used = limited(settings["limit_train_batches"], batches)
        return fit_length(
            max(1, -(-used // settings["accumulate_grad_batches"])),
            max_epochs=settings["max_epochs"],
            max_steps=settings["max_steps"],
            patience=patience,
            defaults=defaults,
        )

    def make(
        self, folder: Path, callbacks: Sequence[Callback], *, max_epochs: int | None = None
    ) -> Trainer:
        """A Trainer that works in a folder, with these callbacks beside those of the settings.

        Args:
            folder: Of the fit.
            callbacks: Of slidenet.
            max_epochs: Where the settings do not say.

        Raises:
            ConfigError: Settings that Lightning cannot work with.
            MissingExtraError: A logger or plug-in that is not installed.
        """
        with _plain_refusals(), quiet_lightning():
            settings = self._objects(folder)
            settings["logger"] = loggers_of(settings["logger"], folder)
            if settings["max_epochs"] is None:
                settings["max_epochs"] = max_epochs
            given = _listed(settings.pop("callbacks"))
            if settings["enable_progress_bar"] is False or any(
                isinstance(callback, ProgressBar) for callback in given
            ):
                callbacks = [c for c in callbacks if not isinstance(c, ProgressBar)]
            trainer = Trainer(
                **settings,
                callbacks=[*callbacks, *given],
                default_root_dir=folder,
                use_distributed_sampler=False,
            )
            # Not where a strategy or a plug-in of the user has files of its own.
            if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
                trainer.strategy.checkpoint_io = CheckpointFiles()
            return trainer

    def meet_ranks(self, folder: Path, *, may_share: bool = True) -> int:
        """Waits for the other ranks of the run, where each was started as a process of its own.

        Args:
            folder: Of the run; nothing is written.
            may_share: Whether there may be such; refused otherwise.

        Returns:
            How many ranks a fit has.

        Raises:
            ConfigError: Other processes were started than the settings ask for.
            LostRankError: The others did not come in time.
        """
        with _plain_refusals(), quiet_lightning():
            settings = self._objects(folder)
            where = {name: settings[name] for name in WHERE if name in settings}
            trainer = Trainer(
                **where,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
                default_root_dir=folder,
            )
            (meet_ranks if may_share else refuse_ranks)(trainer)
            return int(trainer.world_size)

    def _objects(self, folder: Path) -> dict[str, Any]:
        """The settings with loggers and callbacks made; loggers write into the folder."""
        settings = copy.deepcopy(self._settings)
        loggers = settings["logger"]
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            arguments = logger.get("init_args") if isinstance(logger, dict) else None
            if arguments and arguments.get("save_dir") is not None:
                arguments["save_dir"] = str(folder / arguments["save_dir"])
        parser = argument_parser(LoggedTrainer, FIXED_TRAINER)
        found: dict[str, Any] = parser.instantiate(parser.parse_object(settings)).as_dict()
        found["plugins"] = [*_listed(found.get("plugins")), *_environment(found)]
        return found


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]


def _environment(settings: Mapping[str, Any]) -> list[ClusterEnvironment]:
    """Where the ranks come from, where Lightning's own choice would not do.

    One process asks nobody, whatever started it: tasks of srun may be runs of their own. Under
    SLURM a job ends at SIGTERM and goes on from `last.ckpt` when it is started again; Lightning
    would ignore the signal, and queue the job anew from a checkpoint of its own.
    """
    plugins = _listed(settings.get("plugins"))
    if any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        return []
    on_cpu = settings["accelerator"] == "cpu" and settings["devices"] == "auto"
    one_device = settings["devices"] in (1, "1") or on_cpu
    if one_device and settings["num_nodes"] == 1 and settings["strategy"] == "auto":
        return [LightningEnvironment()]
    if not dist.is_torchelastic_launched() and SLURMEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=False)]
    return []


@contextmanager
def _plain_refusals() -> Iterator[None]:
    """What Lightning says of settings it cannot work with, as an error for the user."""
    try:
        yield
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"Lightning cannot make a Trainer of the --trainer settings ({error})",
            remedy="change the setting it names",
        ) from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a --trainer setting needs a package that is not installed ({error})",
            remedy="install it, or leave the setting out",
        ) from error


def limited(limit: int | float | None, count: int) -> int:
    """How many of `count` batches a limit of Lightning (a number or a share) leaves."""
    if limit is None:
        return count
    return min(limit, count) if isinstance(limit, int) else int(limit * count)
