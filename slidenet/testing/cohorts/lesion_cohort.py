"""A cohort of slides on disk whose labels and lesions are known, and where lesions may lie."""

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.core.checks import check_choice, check_whole, refused
from slidenet.core.errors import ConfigError
from slidenet.testing.painting import Lesion, Stain, with_overlays
from slidenet.testing.pyramid import write_pyramid
from slidenet.testing.synthetic import Blob, SyntheticSlide

LesionRule = Literal["near_vs_far", "present_vs_absent"]

CELL_PX = 256
LESION_CELLS = 2
"""Side of a lesion in cells: it covers two by two tiles and touches no other."""

_NEAR_CELLS = 3.0
_FAR_CELLS = 4.5
LESION_RADIUS_PX = 216
MANIFEST_NAME = "slides.csv"
LESIONS_NAME = "lesions.csv"
LABEL_WORDS: dict[LesionRule, tuple[str, str]] = {
    "near_vs_far": ("far", "near"),
    "present_vs_absent": ("absent", "present"),
}
"""How labels 0 and 1 are written in the table; in this order when sorted, too."""

_MPP = 0.5


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One slide of a generated cohort.

    Attributes:
        slide_id: Names the slide.
        patient_id: Whose slide it is.
        site: Where it was stained; as frequent among both labels.
        label: 0 or 1, the same for all slides of a patient.
    """

    slide_id: str
    patient_id: str
    site: str
    label: int


def cohort_rows(
    num_patients: int, num_sites: int, seed: int, slides_per_patient: Sequence[int] = (1, 1, 2)
) -> list[CohortRow]:
    """Patients with balanced labels, spread evenly over sites whatever their label.

    Args:
        num_patients: Half of them have label 1.
        num_sites: Sites in all.
        seed: Decides which patient is which.
        slides_per_patient: Slides of the first patient, the second, ..., and over again.
    """
    order = np.random.default_rng(seed).permutation(num_patients)
    rows: list[CohortRow] = []
    for patient, place in enumerate(int(p) for p in order):
        for _ in range(slides_per_patient[patient % len(slides_per_patient)]):
            rows.append(
                CohortRow(
                    slide_id=f"slide_{len(rows):03d}",
                    patient_id=f"patient_{patient:03d}",
                    site=f"site_{place // 2 % num_sites}",
                    label=place % 2,
                )
            )
    return rows


def write_lesion_cohort(
    folder: str | os.PathLike[str],
    *,
    num_patients: int = 48,
    num_sites: int = 3,
    slide_px: int = 2560,
    rule: LesionRule = "near_vs_far",
    seed: int = 0,
    num_processes: int = 1,
) -> Path:
    """Writes pyramidal TIFFs with known lesions, their manifest and the truth about them.

    The label lies in where the lesions are ("near_vs_far") or whether there are any
    ("present_vs_absent"); see `place_lesions`. Lesions fit the lattice of 256 px tiles at 0.5 mpp
    without overlap. Tissue, texture, stain and thickness vary from slide to slide and site to site,
    whatever the label.

    Args:
        folder: Gets `slides/*.tif`, `slides.csv` (slide_id, slide_path, patient_id, site, label;
            also the table of labels) and `lesions.csv` (slide_id, x, y, radius; centres and mean
            radii in level-0 pixels).
        num_patients: Every third patient has two slides.
        num_sites: Sites, each with a stain of its own.
        slide_px: Side of a slide; a slide of 2560 px has about 65 tiles.
        rule: What the label means.
        seed: Decides everything.
        num_processes: How many slides are drawn at once; decides nothing.

    Returns:
        The path of the manifest.

    Raises:
        ConfigError: An unknown rule, or slides too small for it.
    """
    folder = Path(folder)
    check_whole(least=8 * CELL_PX, slide_px=slide_px)
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    rows = cohort_rows(num_patients, num_sites, seed)
    slides: list[list[object]] = [["slide_id", "slide_path", "patient_id", "site", "label"]]
    truth: list[list[object]] = [["slide_id", "x", "y", "radius"]]
    paths = [f"slides/{row.slide_id}.tif" for row in rows]
    draw = partial(_write_slide, slide_px=slide_px, rule=rule)
    seeds = [(seed, index) for index in range(len(rows))]
    jobs = ([folder / path for path in paths], rows, seeds)
    if num_processes == 1:
        lesions_of = list(map(draw, *jobs))
    else:
        # Spawned, not forked: threads of numpy and torch do not survive a fork.
        with ProcessPoolExecutor(num_processes, get_context("spawn")) as pool:
            lesions_of = list(pool.map(draw, *jobs))
    for path, row, lesions in zip(paths, rows, lesions_of, strict=True):
        word = LABEL_WORDS[rule][row.label]
        slides.append([row.slide_id, path, row.patient_id, row.site, word])
        truth += [[row.slide_id, lesion.x, lesion.y, lesion.radius] for lesion in lesions]
    write_rows(folder / LESIONS_NAME, truth)
    return write_rows(folder / MANIFEST_NAME, slides)


def place_lesions(
    rule: LesionRule,
    label: int,
    tissue: BoolArray,
    rng: np.random.Generator,
    num_lesions: int = 2,
) -> IntArray:
    """Chooses where the lesions of one slide lie.

    "near_vs_far": two lesions on every slide, at most 3 cells apart from centre to centre (label 1)
    or at least 4.5 cells and half the slide (label 0). Each fills four tiles of its own, so tiles
    without their places are the same for both labels. The first lesion is drawn alike for both, so
    no single place tells either.
    "present_vs_absent": `num_lesions` anywhere (label 1) or none (label 0).

    Args:
        rule: What the label means.
        label: 0 or 1.
        tissue: Bool (rows, columns), cells of a lattice that are wholly tissue.
        rng: Decides.
        num_lesions: Of a slide with label 1; "near_vs_far" takes two.

    Returns:
        int64 (L, 2), (column, row) of the first cell of each lesion's two by two cells.

    Raises:
        ConfigError: An unknown rule, a number of lesions it does not take, or tissue too small.
    """
    check_choice(get_args(LesionRule), rule=rule)
    check_whole(num_lesions=num_lesions)
    if rule == "near_vs_far" and num_lesions != 2:
        raise refused("num_lesions", num_lesions, "2, which are near each other or far apart")
    blocks = _blocks(tissue)
    if rule == "present_vs_absent":
        if not label:
            return np.empty((0, 2), np.int64)
        if num_lesions == 2:
            return _apart(blocks, rng, 0, np.inf)
        return place_blocks(tissue, num_lesions, rng)
    pair = _apart(blocks, rng, max(max(tissue.shape) / 2, _FAR_CELLS), np.inf)
    if not label:
        return pair
    fitting = _fitting(blocks, pair[0], 0, _NEAR_CELLS)
    assert len(fitting), "whole tissue has room beside a lesion"
    return np.stack([pair[0], rng.choice(fitting)])


def place_blocks(tissue: BoolArray, count: int, rng: np.random.Generator) -> IntArray:
    """Blocks of two by two cells anywhere in the tissue, none with a cell of another.

    Args:
        tissue: Bool (rows, columns), cells that may be covered.
        count: How many.
        rng: Decides.

    Returns:
        int64 (count, 2), (column, row) of the first cell of each.

    Raises:
        ConfigError: There is no room for so many.
    """
    blocks = rng.permutation(_blocks(tissue))
    chosen = blocks[:0]
    for _ in range(count):
        if not len(blocks):
            raise ConfigError(
                f"room for {len(chosen)} of {count} lesions of {LESION_CELLS} x {LESION_CELLS}",
                expected="a larger slide, or fewer lesions",
            )
        chosen = np.vstack([chosen, blocks[:1]])
        blocks = _fitting(blocks, blocks[0], 0, np.inf)
    return chosen


def write_rows(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Writes a CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def _write_slide(
    path: Path, row: CohortRow, seed: tuple[int, int], *, slide_px: int, rule: LesionRule
) -> list[Lesion]:
    rng = np.random.default_rng(seed)
    texture_seed, stain_seed = (int(s) for s in rng.integers(0, 2**31, 2))
    slide = SyntheticSlide(slide_px, slide_px, _blobs(slide_px, rng), texture_seed)
    site = np.random.default_rng((seed[0], 1000 + int(row.site.rpartition("_")[2])))
    red, green, blue = (float(density) for density in site.uniform(0.85, 1.2, 3))
    stain = Stain((red, green, blue), slide_px, 0.12, stain_seed)
    cells = slide_px // CELL_PX
    tissue = slide.tissue_mask(0, 0, cells * CELL_PX, cells * CELL_PX)
    whole = np.asarray(tissue.reshape(cells, CELL_PX, cells, CELL_PX).all((1, 3)))
    lesions = [
        Lesion(
            float((column + LESION_CELLS / 2) * CELL_PX),
            float((line + LESION_CELLS / 2) * CELL_PX),
            LESION_RADIUS_PX,
            int(rng.integers(0, 2**31)),
        )
        for column, line in place_lesions(rule, row.label, whole, rng)
    ]
    painter = with_overlays(slide, *lesions, stain)
    write_pyramid(path, slide_px, slide_px, _MPP, painter)
    return lesions


def _blobs(side: int, rng: np.random.Generator) -> tuple[Blob, ...]:
    """One large piece of tissue, and two that stick out of it."""
    radius_x, radius_y = rng.uniform(0.42, 0.47, 2) * side
    x, y = (float(rng.uniform(r + 8, side - r - 8)) for r in (radius_x, radius_y))
    pieces = [Blob(x, y, float(radius_x), float(radius_y))]
    for angle in rng.uniform(0, 2 * np.pi, 2):
        at = (x + 0.8 * radius_x * np.cos(angle), y + 0.8 * radius_y * np.sin(angle))
        pieces.append(Blob(float(at[0]), float(at[1]), 0.14 * side, 0.14 * side))
    return tuple(pieces)


def _blocks(tissue: BoolArray) -> IntArray:
    """(column, row) of the first cell of every block of two by two cells of tissue."""
    whole = tissue[:-1, :-1] & tissue[1:, :-1] & tissue[:-1, 1:] & tissue[1:, 1:]
    return np.argwhere(whole)[:, ::-1].astype(np.int64)


def _apart(blocks: IntArray, rng: np.random.Generator, least: float, most: float) -> IntArray:
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


def _fitting(blocks: IntArray, first: IntArray, least: float, most: float) -> IntArray:
    distance = np.hypot(*(blocks - first).T)
    disjoint = np.abs(blocks - first).max(1) >= LESION_CELLS
    fitting: IntArray = blocks[disjoint & (distance >= least) & (distance <= most)]
    return fitting
