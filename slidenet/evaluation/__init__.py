"""Floor 6: how far a classifier can be believed: intervals, comparisons, calibration, probes."""

from slidenet.evaluation.calibration import (
    ReliabilityCurve,
    TemperatureScaling,
    apply_temperature,
    cross_fitted_temperature,
    fit_temperature,
    forecasts_of,
    log_loss,
    reliability_curve,
    temperature_of_validation,
)
from slidenet.evaluation.conformal import (
    ConformalPredictor,
    ConformalSets,
    fit_conformal,
    split_conformal,
)
from slidenet.evaluation.operating_points import OperatingPoint, choose_threshold, operating_point
from slidenet.evaluation.predictions.columns import PredictionColumns
from slidenet.evaluation.predictions.csv_file import (
    check_evaluable,
    join_predictions,
    read_predictions,
    write_predictions,
)
from slidenet.evaluation.predictions.patient_average import average_by_patient
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.predictions.sidecar import Origin, check_origin, sidecar_path
from slidenet.evaluation.predictions.targets import split_predictions
from slidenet.evaluation.probes.cox_regression import CoxRegression
from slidenet.evaluation.probes.probe import (
    Probe,
    best_probe,
    cross_validate_probe,
    fit_bag_probes,
    fit_probe,
)
from slidenet.evaluation.report.summary import Calibrated, Summary, SummarySettings, summarise
from slidenet.evaluation.statistics.bootstrap import (
    Bootstrap,
    Interval,
    bootstrap,
    bootstrap_metrics,
    paired_bootstrap,
)
from slidenet.evaluation.statistics.comparison import Comparison, align, compare
from slidenet.evaluation.statistics.curves import (
    Curve,
    CurveKind,
    discrimination_curve,
    one_against_rest,
)
from slidenet.evaluation.statistics.delong import DeLongTest, delong_interval, delong_test
from slidenet.evaluation.statistics.proportions import proportion_interval
from slidenet.evaluation.statistics.survival import (
    KaplanMeier,
    LogRank,
    RiskGroups,
    SurvivalGroups,
    kaplan_meier,
    log_rank,
    risk_groups,
    survival_groups,
)
from slidenet.mil.probe import ProbeKind

__all__ = [
    "Bootstrap",
    "Calibrated",
    "Comparison",
    "ConformalPredictor",
    "ConformalSets",
    "CoxRegression",
    "Curve",
    "CurveKind",
    "DeLongTest",
    "Interval",
    "KaplanMeier",
    "LogRank",
    "OperatingPoint",
    "Origin",
    "PredictionColumns",
    "Predictions",
    "Probe",
    "ProbeKind",
    "ReliabilityCurve",
    "RiskGroups",
    "Summary",
    "SummarySettings",
    "SurvivalGroups",
    "TemperatureScaling",
    "align",
    "apply_temperature",
    "average_by_patient",
    "best_probe",
    "bootstrap",
    "bootstrap_metrics",
    "check_evaluable",
    "check_origin",
    "choose_threshold",
    "compare",
    "cross_fitted_temperature",
    "cross_validate_probe",
    "delong_interval",
    "delong_test",
    "discrimination_curve",
    "fit_bag_probes",
    "fit_conformal",
    "fit_probe",
    "fit_temperature",
    "forecasts_of",
    "join_predictions",
    "kaplan_meier",
    "log_loss",
    "log_rank",
    "one_against_rest",
    "operating_point",
    "paired_bootstrap",
    "proportion_interval",
    "read_predictions",
    "reliability_curve",
    "risk_groups",
    "sidecar_path",
    "split_conformal",
    "split_predictions",
    "summarise",
    "survival_groups",
    "temperature_of_validation",
    "write_predictions",
]
