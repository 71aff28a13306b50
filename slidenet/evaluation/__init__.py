"""Floor 5: how far a classifier can be believed: intervals, comparisons, calibration, probes."""

from slidenet.evaluation.prediction_columns import PredictionColumns
from slidenet.evaluation.predictions import Predictions
from slidenet.evaluation.predictions_file import write_predictions
from slidenet.evaluation.read_predictions import align, check_evaluable, read_predictions

__all__ = [
    "PredictionColumns",
    "Predictions",
    "align",
    "check_evaluable",
    "read_predictions",
    "write_predictions",
]
