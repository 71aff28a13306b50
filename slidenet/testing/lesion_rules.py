"""Where lesions lie on a slide, and what that says about its label."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from slidenet.core.checks import check_choice
from slidenet.core.errors import ConfigError

LesionRule = Literal["near_vs_far", "present_vs_absent"]

LESION_CELLS = 2
"""Side of a lesion in cells: it covers two by two tiles and touches no other."""
_NEAR_CELLS = 3.0
_FAR_CELLS = 4.5

Blocks = npt.NDArray[np.int64]


def place_lesions(
    rule: LesionRule, label: int, tissue: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Blocks:
    """Chooses where the lesions of one slide lie.

    "near_vs_far": two lesions on every slide, at most 3 cells apart from centre to centre (label 1)
    or at least 4.5 cells and half the slide (label 0). Each fills four tiles of its own, so tiles
    without their places are the same for both labels. The first lesion is drawn alike for both, so
    no single place tells either.
    "present_vs_absent": two lesions anywhere (label 1) or none (label 0).

    Args:
        rule: What the label means.
        label: 0 or 1.
        tissue: Bool (rows, columns), cells of a lattice that are wholly tissue.
        rng: Decides.

    Returns:
        int64 (L, 2), (column, row) of the first cell of each lesion's two by two cells.

    Raises:
        ConfigError: An unknown rule, or tissue too small for two lesions far apart.
    """
    check_choice(get_args(LesionRule), rule=rule)
    whole = tissue[:-1, :-1] & tissue[1:, :-1] & tissue[:-1, 1:] & tissue[1:, 1:]
    blocks = np.argwhere(whole)[:, ::-1].astype(np.int64)
    if rule == "present_vs_absent":
        return _apart(blocks, rng, 0, np.inf) if label else np.empty((0, 2), np.int64)
    pair = _apart(blocks, rng, max(max(tissue.shape) / 2, _FAR_CELLS), np.inf)
    return _partner(blocks, pair[0], rng) if label else pair


def _apart(blocks: Blocks, rng: np.random.Generator, least: float, most: float) -> Blocks:
    """Two blocks whose distance is within bounds, without a cell in common."""
    for first in rng.permutation(len(blocks)):
        fitting = _fitting(blocks, blocks[first], least, most)
        if len(fitting):
            return np.stack([blocks[first], rng.choice(fitting)])
    raise ConfigError(
        f"no two places for lesions at least {least:g} cells apart in the tissue",
        expected="a larger slide",
        remedy="raise slide_px",
    )


def _partner(blocks: Blocks, first: Blocks, rng: np.random.Generator) -> Blocks:
    fitting = _fitting(blocks, first, 0, _NEAR_CELLS)
    assert len(fitting), "whole tissue has room beside a lesion"
    return np.stack([first, rng.choice(fitting)])


def _fitting(blocks: Blocks, first: Blocks, least: float, most: float) -> Blocks:
    distance = np.hypot(*(blocks - first).T)
    disjoint = np.abs(blocks - first).max(1) >= LESION_CELLS
    fitting: Blocks = blocks[disjoint & (distance >= least) & (distance <= most)]
    return fitting
