"""How a model was trained: its curves, the epochs kept, and what the run itself reported."""

from slidenet.core.text import count_of
from slidenet.pipelines.reporting.results_text import shown_results
from slidenet.pipelines.reporting.run_files import RunFound
from slidenet.visualisation.html import (
    Html,
    Section,
    details,
    figure,
    gallery,
    missing,
    note,
    paragraph,
    picture_of_file,
)

MOST_CURVES, CURVE_PX = 12, 900


def training_section(run: RunFound | None) -> Section:
    """Learning curves and `results.md`."""
    title = "Training"
    if run is None or not run.is_run:
        told = (
            "the folder of a run: `slidenet report OUT RUN`, RUN of `slidenet train` or crossval."
        )
        if run is not None:
            told = (
                f"plan.json and crossval.json in {run.folder.name}: it is no folder of a training."
            )
        return Section("training", title, [missing(told)], "no run")
    parts: list[Html] = [paragraph(_words(run))]
    lacks = []
    if run.num_folds and len(run.folds) < run.num_folds:
        lacks.append("unfinished")
        parts.append(
            missing(
                f"{run.num_folds - len(run.folds)} of {count_of('fold', run.num_folds)}: the same "
                "`slidenet crossval` goes on where it was."
            )
        )
    if run.curves:
        parts += _curves(run)
    else:
        lacks.append("no learning curves")
        parts.append(
            missing("learning curves: no fit has ended yet, or the model is fitted, not trained.")
        )
    for path in run.results:
        parts.append(details(f"What the run reported ({path.name})", *shown_results(path)))
    if not run.results:
        lacks.append("no results.md")
        parts.append(missing("results.md: the run has not ended yet."))
    return Section("training", title, parts, "; ".join(lacks))


def _words(run: RunFound) -> str:
    what = f"a cross-validation of {count_of('fold', run.num_folds)}" if run.num_folds else "a fit"
    network = run.network or "a network nothing names"
    return f"{run.folder.name}: {what} of {network}, by `slidenet {run.verb}`."


def _curves(run: RunFound) -> list[Html]:
    shown = list(run.curves.items())[:MOST_CURVES]
    figures = [
        figure(
            picture_of_file(path, longest=CURVE_PX),
            f"Learning curve{f' of {name}' if name else ''}: losses by epoch",
            f"{name or 'Losses'} by epoch; the dashed line marks the epoch that was kept.",
        )
        for name, path in shown
    ]
    parts = [gallery(figures, "charts")]
    if len(shown) < len(run.curves):
        parts.append(
            note("plain", f"The first {len(shown)} of {len(run.curves)} curves are shown.")
        )
    return parts
