"""Splits of a cohort by patient, in proportion to its labels; optionally by site.

No patient is ever in two of train, val and test, and each of them holds every class. With
`site_column` all slides of a site are tested together (preserved-site cross-validation: Howard et
al. 2021, "The impact of site-specific digital histology signatures on deep learning model accuracy
and bias", Nature Communications 12:4423), found greedily rather than by their quadratic program.
The same table, settings and seed give the same splits.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from slidenet.core.checks import check_share, check_whole
from slidenet.core.errors import ConfigError, SplitError
from slidenet.core.text import plural
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.record import Split
from slidenet.data.splits.strata import Strata, strata_of
from slidenet.tasks import Task

Chosen = npt.NDArray[np.bool_]

_ATTEMPTS = 20
LeaveOneOut = Literal["patient", "site"]


def make_split(
    table: LabelTable,
    task: Task,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    group_column: str = "patient_id",
) -> Split:
    """One split into train, val and test by patient.

    Args:
        table: The labels.
        task: What the labels mean; its classes are kept in proportion.
        val_fraction: Share of the patients of each class that go to val; 0 for no val.
        test_fraction: Share of the patients of each class that go to test; 0 for no test.
        seed: Decides who goes where.
        group_column: What stays together; a slide without it is a group of its own.

    Raises:
        LabelError: A label is missing or does not fit the task.
        SplitError: A class has too few patients to be in every split.
        ConfigError: Shares that are negative or leave nothing to train on.
    """
    _check_shares(val_fraction, test_fraction)
    strata = strata_of(table, task, group_column=group_column)
    rng = np.random.default_rng(seed)
    test = _hold_out(strata, test_fraction, rng, "the split")
    rest = strata.take(~test)
    val = _hold_out(rest, val_fraction / (1 - test_fraction), rng, "the split")
    return _split(strata, test, rest, val)


def make_folds(
    table: LabelTable,
    task: Task,
    *,
    num_folds: int = 5,
    num_repeats: int = 1,
    seed: int = 0,
    val_fraction: float = 0.2,
    group_column: str = "patient_id",
    site_column: str | None = None,
    leave_one_out: LeaveOneOut | None = None,
) -> list[Split]:
    """Splits for cross-validation: every slide is tested once per repeat.

    Args:
        table: The labels.
        task: What the labels mean; its classes (events, for survival) are kept in proportion.
        num_folds: Parts the patients are cut into.
        num_repeats: How often, each time by another shuffle.
        seed: Decides who goes where.
        val_fraction: Share of the patients of each class, among those not tested, held out for
            early stopping; 0 for none.
        group_column: What stays together; a slide without it is a group of its own.
        site_column: Where given, all slides of a site are tested together; val is still drawn by
            patient, among the sites trained on.
        leave_one_out: A fold for every patient, or every site of `site_column`, which it tests
            alone, in order of the table; `num_folds` is not used then, and a test split need not
            hold every class.

    Returns:
        `num_repeats * num_folds` splits, the folds of the first repeat first.

    Raises:
        LabelError: A label is missing or does not fit the task, or there is no such column.
        SplitError: A class has fewer patients (sites) than there are folds, or a fold is left
            without a class.
        ConfigError: Numbers out of range.
    """
    _check_shares(val_fraction, 0)
    check_whole(least=2, num_folds=num_folds)
    check_whole(num_repeats=num_repeats)
    patients = strata_of(table, task, group_column=group_column)
    units = patients
    if leave_one_out is not None:
        _check_leaving(leave_one_out, site_column, num_repeats)
    if site_column is not None and leave_one_out != "patient":
        units = strata_of(table, task, group_column=group_column, site_column=site_column)
    if leave_one_out is not None:
        return _one_left_out(patients, units, seed, val_fraction)
    _check_enough(units, num_folds)
    splits: list[Split] = []
    for repeat in range(num_repeats):
        words = f" of repeat {repeat}" if num_repeats > 1 else ""
        seeds = (seed, repeat)
        try:
            splits += _folds(patients, units, num_folds, seeds, val_fraction, words, by="slide")
        except SplitError:
            # Patients with many slides can fill a fold with nearly all patients of a rare class.
            splits += _folds_by_group(patients, units, num_folds, seeds, val_fraction, words)
    return splits


def _folds_by_group(
    patients: Strata,
    units: Strata,
    num_folds: int,
    seeds: tuple[int, int],
    val_fraction: float,
    words: str,
) -> list[Split]:
    """The folds with strata in proportion by groups.

    The few patients of a rare label may all be tested in one fold, which then has none to learn
    from: others are drawn until that is not so.
    """
    rare = (units.needed & ~units.everywhere).any()
    for attempt in range(_ATTEMPTS if rare else 1):
        drawn = seeds if attempt == 0 else (*seeds, attempt)
        try:
            return _folds(patients, units, num_folds, drawn, val_fraction, words, by="group")
        except SplitError as error:
            last = error
    raise last


def _folds(
    patients: Strata,
    units: Strata,
    num_folds: int,
    seeds: tuple[int, ...],
    val_fraction: float,
    words: str,
    *,
    by: Literal["slide", "group"],
) -> list[Split]:
    """The folds of one repeat, with strata in proportion by slides or by groups."""
    fold_of = _assign_folds(units, num_folds, np.random.default_rng(seeds), by=by)
    splits = []
    for fold in range(num_folds):
        test = fold_of == fold
        _check_classes(units, test, f"fold {fold}{words}, test")
        rest = patients.take(~test)
        _check_classes(patients, ~test, f"fold {fold}{words}, train", training=True)
        rng = np.random.default_rng([*seeds, fold])
        val = _hold_out(rest, val_fraction, rng, f"fold {fold}{words}")
        splits.append(_split(patients, test, rest, val))
    return splits


def _check_leaving(kind: LeaveOneOut, site_column: str | None, num_repeats: int) -> None:
    if kind == "site" and site_column is None:
        raise ConfigError(
            "leave_one_out is 'site', and no column of sites is given",
            expected="the column that says where each slide comes from",
            remedy="give --folds.site-column",
        )
    if num_repeats > 1:
        raise ConfigError(
            f"num_repeats is {num_repeats} with leave_one_out {kind!r}",
            expected="1: there is one way to leave each of them out",
        )


def _one_left_out(patients: Strata, units: Strata, seed: int, val_fraction: float) -> list[Split]:
    """A split for each patient or site, which is its test split."""
    if units.num_groups < 2:
        raise SplitError(
            f"all slides are of one {units.group_word}, or of several that share patients",
            expected="at least two without a patient in both, to leave one out",
        )
    splits = []
    for fold, group in enumerate(dict.fromkeys(units.groups.tolist())):
        test = units.groups == group
        rest = patients.take(~test)
        _check_classes(
            patients, ~test, f"fold {fold}, all but its {units.group_word}", training=True
        )
        val = _hold_out(rest, val_fraction, np.random.default_rng([seed, 0, fold]), f"fold {fold}")
        splits.append(_split(patients, test, rest, val))
    return splits


def hold_out_validation(
    split: Split,
    table: LabelTable,
    task: Task,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    group_column: str = "patient_id",
) -> Split:
    """A split whose val is drawn by patient from its training part; test stays as it is.

    For splits read from files that have no val, and for nested cross-validation.

    Raises:
        LabelError: A slide is not in the table, or its label does not fit the task.
        SplitError: The split has a val already, or a class has too few patients.
        ConfigError: A share out of range.
    """
    if split.val:
        raise SplitError(f"the split has a val of {len(split.val)} slides already")
    _check_shares(val_fraction, 0)
    rest = strata_of(table.select(split.train), task, group_column=group_column)
    val = _hold_out(rest, val_fraction, np.random.default_rng(seed), "the split")
    return Split(rest.ids(~val), rest.ids(val), split.test)


def _assign_folds(
    strata: Strata, num_folds: int, rng: np.random.Generator, *, by: Literal["slide", "group"]
) -> npt.NDArray[np.int64]:
    """int64 (S,), the fold each slide is tested in."""
    from sklearn.model_selection import StratifiedGroupKFold  # here: embedding verbs start without

    # Groups are shuffled here, by renaming them: scikit-learn's own shuffle mixed up groups and
    # labels before version 1.8. A slide counts once in each of its strata, and once as a slide.
    renamed = rng.permutation(strata.num_groups)[strata.groups]
    per_stratum = strata.group_members().sum(0)
    used = np.flatnonzero(per_stratum >= num_folds)
    slides, stratum = np.nonzero(strata.members[:, used])
    slides = np.concatenate([slides, np.arange(len(strata))])
    stratum = np.concatenate([stratum, np.full(len(strata), len(used))])
    groups = renamed[slides]
    if by == "group":  # a group counts once in each of its strata, however many slides it has
        groups, stratum = np.unique(np.stack([groups, stratum]), axis=1)
    fold_of_group = np.full(strata.num_groups, -1, np.int64)
    for fold, (_, tested) in enumerate(
        StratifiedGroupKFold(num_folds).split(groups, stratum, groups)
    ):
        fold_of_group[groups[tested]] = fold
    assert (fold_of_group >= 0).all()
    return fold_of_group[renamed]


def _hold_out(strata: Strata, fraction: float, rng: np.random.Generator, name: str) -> Chosen:
    """Bool (S,): slides of `fraction` of the groups of each stratum, the rarest stratum first."""
    if fraction == 0:
        return np.zeros(len(strata), np.bool_)
    members = strata.group_members()
    taken = np.zeros(len(members), np.bool_)
    totals = members.sum(0)
    wanted = np.minimum(np.maximum(np.round(fraction * totals), 1), totals - 1)
    for stratum in np.argsort(totals, kind="stable"):
        while (have := members[taken].sum(0))[stratum] < wanted[stratum]:
            free = rng.permutation(np.flatnonzero(members[:, stratum] & ~taken))
            # A group of several strata (labels of a "multilabel" task) is best taken where it
            # fills none beyond its share.
            beyond = (members[free] & (have >= wanted)).sum(1)
            taken[free[np.argmin(beyond)]] = True
    held_out: Chosen = taken[strata.groups]
    _check_classes(strata, held_out, f"{name}, held out")
    _check_classes(strata, ~held_out, f"{name}, train", training=True)
    return held_out


def _check_enough(strata: Strata, num_folds: int) -> None:
    word = strata.group_word
    if strata.num_groups < num_folds:
        raise SplitError(
            f"{num_folds} folds of {strata.num_groups} groups by {word}",
            expected="at least one group per fold",
            remedy=f"ask for at most {strata.num_groups} folds",
        )
    per_stratum = strata.group_members().sum(0)
    enough = np.where(strata.everywhere, num_folds, 2)  # 2: one to test on, one to learn from
    short = [i for i in np.flatnonzero(strata.needed) if per_stratum[i] < enough[i]]
    if short:
        worst = min(short, key=lambda i: int(per_stratum[i]))
        few = int(per_stratum[worst])
        choice = f"ask for at most {few} folds, or " if few > 1 else ""
        if not strata.everywhere[worst]:
            raise SplitError(
                f"label {strata.names[worst]} has {few} {plural(word, few)}",
                expected="at least two, one to test on and one to learn from",
                remedy="leave its column out of label_columns",
            )
        raise SplitError(
            f"class {strata.names[worst]} has {few} {plural(word, few)}, fewer than {num_folds} "
            "folds",
            expected="every class in every fold",
            remedy=f"{choice}merge or leave out the class",
        )


def _check_classes(strata: Strata, chosen: Chosen, name: str, *, training: bool = False) -> None:
    wanted = strata.needed if training else strata.everywhere
    absent = wanted & ~strata.members[chosen].any(0)
    if not absent.any():
        return
    first = int(np.flatnonzero(absent)[0])
    count = int(strata.group_members()[:, first].sum())
    raise SplitError(
        f"{name}: no {strata.group_word} of class {strata.names[first]}, which has {count} "
        f"{plural(strata.group_word, count)} to draw from",
        expected="every class in every split",
        remedy="use fewer folds, a smaller val share, another seed, or merge or leave out the "
        "class",
    )


def _check_shares(val_fraction: float, test_fraction: float) -> None:
    check_share(below_one=True, val_fraction=val_fraction, test_fraction=test_fraction)
    if val_fraction + test_fraction >= 1:
        raise ConfigError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to "
            "train on",
            expected="a sum below 1",
        )


def _split(strata: Strata, test: Chosen, rest: Strata, val: Chosen) -> Split:
    return Split(rest.ids(~val), rest.ids(val), strata.ids(test))
