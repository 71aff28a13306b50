"""Folds and candidates of a search on the nodes of a cluster, by the runner that slides have.

First every fit of the search, then the folds, which find its scores on the disk. Each is made
under the claim of its folder, so that other processes may run the same cross-validation.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from slidenet.core.errors import ClaimedElsewhere, WorkerError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of
from slidenet.data.splits.record import Split
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import CohortTeller, Progress
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.fitting.claim import alone_in
from slidenet.pipelines.fitting.folds import FOLD_NAME, FoldWork
from slidenet.pipelines.fleet.settings import ClusterSettings
from slidenet.pipelines.results.ablation import run_fold_variants


def run_alone(
    work: FoldWork, number: int, split: Split, folder: Path, *, patient: bool = False
) -> bool:
    """Makes a fold's predictions and bundle; False where another process is making them."""
    try:
        with alone_in(folder, patient=patient):
            work.run(number, split, folder)
            if work.plan.settings.ablation:
                run_fold_variants(work, number, split, folder.parent)
    except ClaimedElsewhere:
        return False
    return True


@dataclass(frozen=True)
class FitsOfFolds(SlideWork):
    """The fits of a cross-validation, each as if it were a slide; its labels say which it is.

    Attributes:
        layout: Of the folder of the cross-validation.
        work: Trains and tests a fold.
        splits: Of all folds.
        folders: Of all folds.
    """

    layout: OutputLayout
    work: FoldWork
    splits: Sequence[Split]
    folders: Sequence[Path]

    @property
    def device(self) -> str:
        """See `SlideWork`."""
        return "cuda" if self.work.plan.trainer.uses_gpu() else "cpu"

    def rows(self, folds: Iterable[int], *, patient: bool = False) -> list[SlideRow]:
        """The folds."""
        return [
            SlideRow(f"fold {n}", "", labels={"fold": str(n), "patient": "yes" * patient})
            for n in folds
        ]

    def rows_of_search(self, folds: Iterable[int]) -> list[SlideRow]:
        """Every fit of the search inside folds that are not done."""
        candidates = range(len(self.work.candidates))
        if len(candidates) == 1:
            return []
        todo = [number for number in folds if not (self.folders[number] / FOLD_NAME).is_file()]
        inner = range(self.work.settings.num_inner_folds)
        return [
            SlideRow(
                f"fold {n}, candidate {c}, inner fold {i}",
                "",
                labels={"fold": str(n), "candidate": str(c), "inner": str(i)},
            )
            for n, c, i in itertools.product(todo, candidates, inner)
        ]

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Makes one fit; its value is whether nobody else is making it."""
        number = int(row.labels["fold"])
        split, folder = self.splits[number], self.folders[number]
        if "candidate" not in row.labels:
            patient = bool(row.labels["patient"])
            mine = run_alone(self.work, number, split, folder, patient=patient)
            return SlideResult(folder, "trained", value=mine)
        place = int(row.labels["candidate"]), int(row.labels["inner"])
        try:
            self.work.score(number, split, folder, *place)
        except ClaimedElsewhere:  # the fold, which comes later, waits for it
            return SlideResult(folder, "trained elsewhere", value=False)
        return SlideResult(folder, "trained", value=True)


class _Silent(CohortTeller):
    def advance(self, count: int, *, done_before: bool = False, worker: str = "") -> None:
        """Fits are counted when they end."""

    def show_slide(self, slide_id: str, *, worker: str = "") -> None:
        """They have a bar of their own."""


def run_folds(
    work: FoldWork,
    chosen: Sequence[int],
    splits: Sequence[Split],
    folders: Sequence[Path],
    cluster: ClusterSettings,
) -> list[int]:
    """Makes folds, in this process or on a cluster.

    Args:
        work: Trains and tests a fold.
        chosen: Which of the folds.
        splits: Of all folds.
        folders: Of all folds.
        cluster: Who does it.

    Returns:
        Those that other processes are training.

    Raises:
        WorkerError: A fit on the cluster failed; the others were made.
    """
    cluster.check()
    if cluster.runner == "local":
        bar = tqdm(chosen, desc="crossval", unit=" folds", disable=None)
        held = [n for n in bar if not run_alone(work, n, splits[n], folders[n])]
        # Who trained these may have died since, or be done.
        return [n for n in held if not run_alone(work, n, splits[n], folders[n], patient=True)]
    fits = FitsOfFolds(OutputLayout(folders[0].parent), work, splits, folders)
    with cluster.on_cluster(fits) as runner:
        _made(runner, fits, fits.rows_of_search(chosen), "search")
        held = _made(runner, fits, fits.rows(chosen), "crossval")
        return _made(runner, fits, fits.rows(held, patient=True), "crossval")


def _made(runner: Runner, fits: FitsOfFolds, rows: Sequence[SlideRow], name: str) -> list[int]:
    """Makes fits; the folds of those that another process is making."""
    if not rows:
        return []
    failed, held = list[str](), set[int]()
    number_of = {row.slide_id: int(row.labels["fold"]) for row in rows}
    bar = tqdm(total=len(rows), desc=name, unit=" fits", disable=None)
    with bar:
        for outcome in runner.run(fits, rows, _Silent()):
            bar.update()
            if not outcome.is_done:
                failed.append(outcome.detail.replace("slide 'fold", "'fold", 1))
            elif not outcome.value:
                held.add(number_of[outcome.slide_id])
    if failed:
        raise WorkerError(
            f"{count_of('fit', len(failed))} of {len(rows)} failed on the cluster; the first: "
            f"{failed[0]}",
            remedy="mend what it names, and run the same command again: fits that are done stay",
        )
    return sorted(held)
