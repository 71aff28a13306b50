"""What is decided from a prediction: which class is called, and how to say it."""

import numpy as np

from slidenet.evaluation import Predictions


def in_words(predictions: Predictions, threshold: float | None) -> list[str]:
    """One line per bag: what is called and how sure the model is."""
    task, given = predictions.task, predictions.predicted
    called = decide(predictions, threshold)
    if called is None:
        values = given.value if given.value is not None else given.risk
        assert values is not None, "a task predicts classes, a value or a risk"
        name = "risk" if task.is_survival else task.label_columns[0]
        return [f"{name} {value:.3g}" for value in values]
    if task.kind == "multilabel":
        return [f"present: {text or 'none'}" for text in called]
    column = [task.class_names.index(name) for name in called]
    shares = predictions.probabilities[np.arange(len(called)), column]
    return [f"{name} ({share:.2f})" for name, share in zip(called, shares, strict=True)]


def decide(predictions: Predictions, threshold: float | None) -> list[str] | None:
    """What is called: the class beyond the threshold, the likeliest class, or the labels present.

    Args:
        predictions: Of any task.
        threshold: For "binary" and "multilabel"; 0.5 where None.

    Returns:
        One text per bag; None for tasks without classes.
    """
    task = predictions.task
    if not task.is_classification:
        return None
    probabilities = predictions.probabilities
    cut = 0.5 if threshold is None else threshold
    names = np.array(task.class_names)
    if task.kind == "binary":
        return [str(name) for name in names[(probabilities[:, 1] >= cut).astype(int)]]
    if task.kind == "multilabel":
        return [" ".join(names[row >= cut]) for row in probabilities]
    return [str(name) for name in names[probabilities.argmax(axis=1)]]
