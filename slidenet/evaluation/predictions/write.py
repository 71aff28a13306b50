"""The CSV of predictions, which people can open and other programs can read.

One row per bag, in the order given, with these columns:

- `bag_id`, `patient_id` (empty where unknown), and `fold` for out-of-fold predictions;
- the label columns of the task, as written in the table of labels (absent for unlabelled bags);
- what was predicted: `prob_<class>` for each class, or `predicted` (regression), or `risk`
  (survival; higher is worse), with `survival_<time>`, the probability of lasting beyond that time,
  where curves are predicted;
- `called`, where `slidenet predict` wrote the file: what the model decides, by its cut-off.

Numbers are written with the fewest digits that read back as the same number in their own precision,
so the same predictions give the same bytes.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slidenet.evaluation.predictions.record import Predictions
from slidenet.stores import atomic_path
from slidenet.tasks.predictions import number_text


def write_predictions(
    path: str | os.PathLike[str], predictions: Predictions, *, called: Sequence[str] | None = None
) -> None:
    """Writes the CSV described at the top of this file; whole or not at all.

    Args:
        path: The file.
        predictions: Of N bags.
        called: What is decided of each (`Task.decide`); written as a last column.

    Raises:
        PredictionsError: A label column has the name of another column.
        OutputError: The file cannot be written.
    """
    columns = predictions.columns(called)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_cell, cells) for cells in columns.values()), strict=True))
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else number_text(value)  # NaN: a missing label
