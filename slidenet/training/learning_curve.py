"""The values of every epoch: kept in the checkpoint, in `metrics.csv`, and drawn at the end."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from slidenet.stores.atomic import atomic_path

CURVE_NAME, METRICS_NAME = "learning_curve.png", "metrics.csv"
WHOLE_NUMBERS = ("epoch", "step")
LOSSES = ("train_loss", "val_loss")
INK, SOFT_INK, ACCENT = "#1d2433", "#8a93a3", "#c2410c"


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
            with atomic_path(self.folder / CURVE_NAME) as temporary:
                # The temporary name ends otherwise; without a date two fits give the same bytes.
                figure = draw_learning_curve(self.epochs, self.monitor)
                figure.savefig(temporary, format="png", metadata={"Software": None})

    def state_dict(self) -> dict[str, Any]:
        """What goes into the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The epochs before the interruption."""
        self.epochs = list(state_dict["epochs"])

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.epochs:
            with atomic_path(self.folder / METRICS_NAME) as temporary:
                write_epochs(temporary, self.epochs)


def write_epochs(path: Path, epochs: Sequence[dict[str, float]]) -> None:
    """One row of CSV per epoch: epoch, step, then the other values by name."""
    names = {name for values in epochs for name in values}
    columns = [*WHOLE_NUMBERS, *sorted(names - set(WHOLE_NUMBERS))]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for values in epochs:
            whole = {name: int(values[name]) for name in WHOLE_NUMBERS if name in values}
            writer.writerow({**values, **whole})


def draw_learning_curve(epochs: list[dict[str, float]], monitor: str) -> Figure:
    """Losses by epoch and, beside them, the monitored value where it is no loss.

    Args:
        epochs: Per epoch its number under "epoch" and its logged values.
        monitor: Name of the value by which the best epoch is chosen.

    Returns:
        A figure bound to no global state.
    """
    panels = [LOSSES] if monitor in LOSSES else [LOSSES, (monitor,)]
    figure = Figure(figsize=(5.0 * len(panels), 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, names in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for name in names:
            known = [(e["epoch"] + 1, e[name]) for e in epochs if name in e]
            if known:
                color = SOFT_INK if name == "train_loss" else ACCENT
                axes.plot(*zip(*known, strict=True), label=name, color=color, marker=".")
        axes.set_xlabel("epoch", color=INK)
        axes.set_ylabel("loss" if names == LOSSES else names[0], color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(frameon=False)
    return figure
