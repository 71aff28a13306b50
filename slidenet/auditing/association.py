"""How much one column tells of another, patient by patient, and how often chance does the same."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, random_table
from sklearn.metrics import roc_auc_score

from slidenet.core.arrays import Float64Array, IntArray

_UNLIKELY = 0.05
_CERTAIN = 1e-3
_PERMUTATIONS_PER_LEVEL = 20
_FIRST_BLOCK = 1000
_BLOCK_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Association:
    """What one column tells of another.

    Attributes:
        effect: Cramer's V: 0 for nothing, 1 for everything.
        p: Of a permutation test of Pearson's chi-square. Where the chi-square distribution says
            more than 0.05, or less than a thousandth of the level asked about, that value is taken.
        auroc: Of the classes predicted from the column alone, each patient by the others that share
            its value; one class against the rest, averaged.
        num_patients: Patients with both values.
    """

    effect: float
    p: float
    auroc: float
    num_patients: int


def association(known: IntArray, label: IntArray, *, level: float, seed: int = 0) -> Association:
    """Tests whether a column tells the label.

    Args:
        known: int (N,), the column's value of each patient, as codes from 0; -1 where missing.
        label: int (N,), the class of each patient, likewise.
        level: p values below this matter; decides how many permutations are drawn.
        seed: Of the permutations.
    """
    both = (known >= 0) & (label >= 0)
    known = np.unique(known[both], return_inverse=True)[1]
    label = np.unique(label[both], return_inverse=True)[1]
    rows, columns = (int(codes.max(initial=0)) + 1 for codes in (known, label))
    if min(rows, columns) < 2:
        return Association(0.0, 1.0, 0.5, len(known))
    counts = np.bincount(known * columns + label, minlength=rows * columns)
    table = counts.reshape(rows, columns).astype(np.float64)
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    found = float(((table - expected) ** 2 / expected).sum())
    effect = float(np.sqrt(found / len(known) / (min(rows, columns) - 1)))
    p = float(chi2.sf(found, (rows - 1) * (columns - 1)))
    if level * _CERTAIN < p < _UNLIKELY:
        p = _permutation_p(table, found, level, seed)
    # Each patient is scored by the share of each class among the others of its value.
    classes = np.eye(columns)[label]
    share = table.sum(0) / table.sum()
    others = table[known] - classes
    scores = (others + share) / (others.sum(1, keepdims=True) + 1)
    aurocs = [roc_auc_score(classes[:, k], scores[:, k]) for k in range(columns)]
    return Association(effect, p, float(np.mean(aurocs)), len(known))


def _permutation_p(table: Float64Array, found: float, level: float, seed: int) -> float:
    """Stops early once chance has done as well so often that p is known to be above `level`.

    Permuting the labels keeps both margins, so tables are drawn with these margins instead. The
    chi-square of such a table depends on the squares of its cells over their expectations only.
    """
    rows, columns = table.sum(1).astype(np.int64), table.sum(0).astype(np.int64)
    weights = rows.sum() / np.outer(rows, columns)
    least = (found + rows.sum()) * (1 - 1e-12)
    shuffled, rng = random_table(rows, columns), np.random.default_rng(seed)
    wanted, block = math.ceil(_PERMUTATIONS_PER_LEVEL / level), _BLOCK_CELLS // table.size + 1
    reached = drawn = 0
    while drawn < wanted and reached <= 2 * _PERMUTATIONS_PER_LEVEL:
        # The first block is small: most columns tell nothing, and are done with it.
        count = min(block, wanted - drawn, max(drawn, _FIRST_BLOCK))
        cells = np.asarray(shuffled.rvs(count, random_state=rng), dtype=np.float64)
        reached += int((np.einsum("nij,nij,ij->n", cells, cells, weights) >= least).sum())
        drawn += count
    return (1 + reached) / (1 + drawn)
