"""How much the features of slides go by the site that made them rather than by what they show.

The robustness index of de Jong, Marcus and Teuwen 2025 ("Current pathology foundation models are
unrobust to medical center differences", section 3), on slides: among the nearest neighbours of each
slide, those of the same class from another site (SO) are counted against those of another class
from the same site (OS): SO / (SO + OS). 1: features go by the class; 0: by the site. Neighbours of
the same patient are left out. Beside it stands what the index would be if neighbours were drawn by
chance, as classes and sites are seldom of one size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.auditing.shortcut_checks import acquisition_columns
from slidenet.core.arrays import Float64Array, IntArray
from slidenet.data.labels.encoding import encode_targets

_MOST_NEIGHBOURS = 10
_PERMUTATIONS = 2000
_BLOCK = 100
_LEAST_SLIDES = 10
_LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class SiteRobustness:
    """The robustness index of the features of a cohort to one column of its table.

    Attributes:
        column: Such as the site or the scanner.
        label: The label whose classes are meant.
        index: SO / (SO + OS) over the `num_neighbours` nearest slides of each slide.
        chance: The same over all pairs of slides of two patients.
        p: Share of cohorts with as low an index, had sites been dealt out by chance among the
            patients of each class (slides, where patients have several sites); 2,000 are drawn.
        num_neighbours: Neighbours of each slide.
        num_slides: Slides whose class and site are known.
        num_sites: Different values of the column.
    """

    column: str
    label: str
    index: float
    chance: float
    p: float
    num_neighbours: int
    num_slides: int
    num_sites: int

    def describe(self) -> str:
        """One line."""
        return (
            f"robustness index of the features to {self.column!r}: {self.index:.2f} for "
            f"{self.label!r}, {self.chance:.2f} by chance (1: nearest slides share the class, 0: "
            f"they share {self.column!r}; {self.num_neighbours} neighbours of each of "
            f"{self.num_slides} slides, {self.num_sites} values)"
        )


def site_robustness(cohort: Cohort) -> tuple[SiteRobustness, ...]:
    """The index for every column that tells where a slide comes from; empty where none does.

    Features that cannot be compared (of other lengths, constant) are left out.
    """
    if cohort.task is None or cohort.labelled is None:
        return ()
    summaries = cohort.comparable
    dims = [len(summary.signature) for summary in summaries.values()]
    usual = max(dims, key=dims.count, default=0)
    labelled = cohort.labelled.index
    slides = [s for s, f in summaries.items() if len(f.signature) == usual and s in labelled]
    if len(slides) < _LEAST_SLIDES:
        return ()
    nearest = _nearest(
        np.stack([summaries[s].signature[: usual // 2] for s in slides]),
        np.unique([cohort.table.patient_of(s) for s in slides], return_inverse=True)[1],
    )
    if nearest is None:
        return ()
    codes = cohort.task.codes(encode_targets(cohort.task, cohort.labelled, slides))
    rows = cohort.table.select(slides)
    found = [
        _index(column, label, sites, classes, *nearest)
        for column, sites in acquisition_columns(rows, cohort.task.label_columns).items()
        for label, classes in codes.items()
    ]
    return tuple(result for result in found if result is not None)


def features_by_site(cohort: Cohort) -> Iterator[Finding]:
    """The index of every such column.

    A note even where features lie by site: they do in most cohorts, and it misleads a model only
    where the site also tells the label, which `shortcuts` warns of.
    """
    found = site_robustness(cohort)
    for result in found:
        by_site = result.index < result.chance and result.p < _LEVEL / len(found)
        yield Finding(
            "site-robustness",
            "note",
            result.describe(),
            f"the features go by it more than by the class: test on values not trained on, crossval"
            f" --folds.site-column {result.column}"
            if by_site
            else "",
        )


def _nearest(means: Float64Array, patients: IntArray) -> tuple[IntArray, IntArray] | None:
    """The neighbours int64 (S, k) of each slide, and the patient of each; None with one patient."""
    scale = means.std(0)
    used = scale > 1e-12 * max(float(np.abs(means).max(initial=0)), 1e-300)
    if not used.any():
        return None
    rows = (means[:, used] - means[:, used].mean(0)) / scale[used]
    others = len(rows) - int(np.bincount(patients).max())
    count = min(_MOST_NEIGHBOURS, round(np.sqrt(len(rows)) / 2), others)
    if count < 1:
        return None
    squares = (rows**2).sum(1)
    neighbours = np.empty((len(rows), count), np.int64)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = squares - 2 * rows[block] @ rows.T
        distances[patients[block, None] == patients] = np.inf
        neighbours[block] = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return neighbours, patients


def _index(
    column: str,
    label: str,
    sites: IntArray,
    classes: IntArray,
    neighbours: IntArray,
    patients: IntArray,
) -> SiteRobustness | None:
    known = (sites >= 0) & (classes >= 0)
    if len(np.unique(sites[known])) < 2 or len(np.unique(classes[known])) < 2:
        return None
    beside = known[:, None] & known[neighbours]
    same_class = classes[neighbours] == classes[:, None]
    keys = np.stack([classes, sites, patients])[:, known]
    same_other = _pairs(keys[[0]], keys[[2]]) - _pairs(keys[[0, 1]], keys[[2]])
    other_same = _pairs(keys[[1]], keys[[2]]) - _pairs(keys[[0, 1]], keys[[2]])
    if not same_other or not other_same:
        return None  # every site has one class only: neither can be told from the other

    def index(dealt: IntArray) -> Float64Array:
        near = dealt[:, neighbours] == dealt[:, :, None]
        so = (beside & same_class & ~near).sum((1, 2))
        os = (beside & ~same_class & near).sum((1, 2))
        # Without either, the neighbours say nothing of one against the other.
        return np.where(so + os > 0, so / np.maximum(so + os, 1), 0.5)

    value = float(index(sites[None])[0])
    rng, reached = np.random.default_rng(0), 0
    kept = np.flatnonzero(known)
    units = _dealt_together(sites[kept], patients[kept])
    first = np.unique(units, return_index=True)[1]
    site_of, class_of = sites[kept][first], classes[kept][first]
    groups = [np.flatnonzero(class_of == k) for k in np.unique(class_of)]
    for _ in range(_PERMUTATIONS // _BLOCK):
        of_units = np.tile(site_of, (_BLOCK, 1))
        for members in groups:
            of_units[:, members] = rng.permuted(of_units[:, members], axis=1)
        dealt = np.tile(sites, (_BLOCK, 1))
        dealt[:, kept] = of_units[:, units]
        reached += int((index(dealt) <= value).sum())
    return SiteRobustness(
        column,
        label,
        value,
        same_other / (same_other + other_same),
        (1 + reached) / (1 + _PERMUTATIONS),
        neighbours.shape[1],
        int(known.sum()),
        len(np.unique(sites[known])),
    )


def _dealt_together(sites: IntArray, patients: IntArray) -> IntArray:
    """int64 (S,), slides of one number have one site by chance, too: those of a patient.

    Dealt to slides one by one, sites would be more mixed than those of patients ever are. Where
    patients have slides of several sites, as of scanners, each slide stands for itself.
    """
    units = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    count = int(units.max()) + 1
    of_several = np.unique(np.stack([units, sites]), axis=1).shape[1] > count
    return np.arange(len(units)) if of_several or count == len(units) else units


def _pairs(alike: IntArray, patients: IntArray) -> int:
    """Ordered pairs of slides of two patients that are alike in every row of `alike` (R, S)."""

    def squares(keys: IntArray) -> int:
        counts = np.unique(keys, axis=1, return_counts=True)[1]
        return int((counts.astype(np.int64) ** 2).sum())

    return squares(alike) - squares(np.concatenate([alike, patients]))
