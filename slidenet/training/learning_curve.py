"""The values of every epoch: kept in the checkpoint, in `metrics.csv`, and drawn at the end."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from slidenet.stores.csv_writing import write_csv
from slidenet.training.bundles.kept_epochs import BestCheckpoint
from slidenet.visualisation.curves import learning_curve_figure
from slidenet.visualisation.style import save_figure

CURVE_NAME, METRICS_NAME = "learning_curve.png", "metrics.csv"
WHOLE_NUMBERS = ("epoch", "step")


class LearningCurve(Callback):
    """Keeps the values of every epoch, writes them after each and draws them when the fit ends.

    The values are part of the checkpoint, so table and curve of a resumed fit are whole, whatever
    logger is used. `metrics.csv` has one row per epoch: epoch and step (the last of the epoch),
    both from 0, then every logged value by name, empty where the epoch has none.

    Args:
        folder: Where `metrics.csv` and `learning_curve.png` go.
        monitor: Logged value by which the best epoch is chosen.
    """

    def __init__(self, folder: str | Path, monitor: str) -> None:
        self.folder = Path(folder)
        self.monitor = monitor
        self.epochs: list[dict[str, float]] = []
        self._validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is known of the epoch."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The values of validation are those of this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps and writes the values of the epoch."""
        values = {
            name: float(v)
            for name, v in trainer.callback_metrics.items()
            # Lightning keeps the last values of validation over epochs that do without it.
            if self._validated or not name.startswith("val_")
        }
        place = {"epoch": float(trainer.current_epoch), "step": float(trainer.global_step - 1)}
        self.epochs.append({**place, **values})
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the curve, once per fit; a fit that was done gets its table again too."""
        self._write(trainer)
        if trainer.is_global_zero and self.epochs:
            figure = learning_curve_figure(self.epochs, self.monitor, self._kept_epoch(trainer))
            save_figure(figure, self.folder / CURVE_NAME, dpi=120, metadata={"Software": None})

    def state_dict(self) -> dict[str, Any]:
        """What goes into the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The epochs before the interruption."""
        self.epochs = list(state_dict["epochs"])

    def _kept_epoch(self, trainer: Trainer) -> int | None:
        """The epoch whose weights are the best so far; None of a fit that keeps its last."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None:
                best, least = float(callback.best_model_score), callback.least_epochs
                late = (epoch for epoch in self.epochs if epoch["epoch"] + 1 >= least)
                return next((int(e["epoch"]) for e in late if e.get(self.monitor) == best), None)
        return None

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not self.epochs:
            return
        names = {name for values in self.epochs for name in values}
        columns = [*WHOLE_NUMBERS, *sorted(names - set(WHOLE_NUMBERS))]
        rows = []
        for values in self.epochs:
            whole = {name: int(values[name]) for name in WHOLE_NUMBERS if name in values}
            rows.append([{**values, **whole}.get(column, "") for column in columns])
        write_csv(self.folder / METRICS_NAME, columns, rows)
