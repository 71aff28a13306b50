"""Floor 2: what a slide classifier predicts, and all that depends on the kind of task."""

from slidenet.tasks.calibration import BreslowBaseline, Calibration, fit_breslow
from slidenet.tasks.classes import BinaryTask, ClassTask, MulticlassTask, OrdinalTask
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.multilabel import MultilabelTask
from slidenet.tasks.multitask import MultiTask
from slidenet.tasks.predictions import JointPredictions, PredictionArrays
from slidenet.tasks.registry import TASKS, TaskKind, task_from_identity, task_of
from slidenet.tasks.regression import RegressionTask
from slidenet.tasks.survival import CoxTask, DiscreteTimeTask, SurvivalTask
from slidenet.tasks.targets import Targets
from slidenet.tasks.task import Task

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BinaryTask",
    "BreslowBaseline",
    "Calibration",
    "ClassTask",
    "CoxTask",
    "DiscreteTimeTask",
    "ExplainedTarget",
    "JointPredictions",
    "MultiTask",
    "MulticlassTask",
    "MultilabelTask",
    "OrdinalTask",
    "PredictionArrays",
    "RegressionTask",
    "SurvivalTask",
    "TASKS",
    "Targets",
    "Task",
    "TaskKind",
    "fit_breslow",
    "task_from_identity",
    "task_of",
]
