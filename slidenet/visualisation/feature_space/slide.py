"""One slide in the colours of its features, and in the clusters of its cohort."""

import cv2
import numpy as np
from matplotlib.figure import Figure

from slidenet.core.arrays import BoolArray, Float64Array, IntArray, UInt8Array
from slidenet.core.text import count_of
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.feature_space.palette import palette
from slidenet.visualisation.heatmaps.panels import draw_view
from slidenet.visualisation.heatmaps.views import View, view_of
from slidenet.visualisation.maps import PAPER_RGB
from slidenet.visualisation.overlay.damage import hatch_boxes
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page
from slidenet.visualisation.style import DARK

GAP_IN = 0.2
MOST_HIGH_IN = 5.0
LEAST_NUMBERED = 0.015
"""A cluster bears its number where one piece of it covers this share of the tiles."""
LEAST_DEPTH_IN = 0.05
"""And where this much of it is around the number, inches."""
LEAST_STEP_IN = 1.1
"""From one picture to the next, for the words above them."""
MOST_CELLS = 2**24
"""Tiles that lie on no lattice may be further apart than any grid has cells."""


def slide_figure(
    places: TileMaps,
    colours: UInt8Array,
    clusters: IntArray,
    overview: UInt8Array | None,
    *,
    mask: BoolArray,
    num_clusters: int,
    explained: Float64Array,
    missing: str = "",
) -> Figure:
    """The slide, its features as colours, and its clusters, beside each other.

    Args:
        places: Where the tiles lie.
        colours: uint8 RGB (N, 3), of the first components.
        clusters: int64 (N,), from 0.
        overview: uint8 RGB (h, w, 3), the whole slide; None: without it.
        mask: bool (N,), True = readable; others are hatched.
        num_clusters: Of the cohort.
        explained: (3,) or fewer, shares of the variance along the components.
        missing: Why there is no overview, as a sentence.
    """
    view = view_of(places, overview)
    of_cluster = palette(num_clusters)
    pictures = [
        (paint_tiles(colours, places.coords, view, mask), "features as RGB"),
        (paint_tiles(of_cluster[clusters], places.coords, view, mask), "clusters"),
    ]
    if view.picture is not None:
        pictures.insert(0, (view.picture, "the slide"))
    page = Page(places.slide_id)
    page.paragraph(
        f"{count_of('tile', len(clusters))} of {places.geometry.tile_size_px} px at "
        f"{places.geometry.target_mpp:g} µm/px; colours and clusters mean the same on all slides "
        "of the cohort",
        size=9.5,
    )
    page.top += 0.32
    room = PAGE_WIDTH - 2 * MARGIN - (len(pictures) - 1) * GAP_IN
    width = min(room / len(pictures), MOST_HIGH_IN / view.aspect)
    step = max(width, LEAST_STEP_IN) + GAP_IN
    for number, (picture, caption) in enumerate(pictures):
        left = MARGIN + number * step
        axes = draw_view(
            page, view, picture, (left, page.top, width), caption=caption, scale_bar=number == 0
        )
    for (x, y), cluster in _numbered(view, places.coords, clusters, mask, width):
        axes.text(
            x, y, str(cluster + 1), fontsize=8, weight="bold", color=DARK, ha="center",
            va="center", clip_on=True,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75,
                  "edgecolor": "none"},
        )  # fmt: skip
    page.top += width * view.aspect + 0.14
    counts = np.bincount(clusters[mask], minlength=num_clusters)
    shares = counts / max(counts.sum(), 1)
    there = np.flatnonzero(counts).tolist()
    page.key([(of_cluster[k] / 255, f"{k + 1}: {shares[k]:.1%}") for k in there])
    lines = [
        "Shares are of the readable tiles of this slide. Red, green and blue are principal "
        f"components 1, 2 and 3, which hold {explained.sum():.0%} of the variance of the cohort."
    ]
    if len(there) < num_clusters:
        lines[0] += f" Of {count_of('cluster', num_clusters - len(there))} no tile is here."
    if not mask.all():
        lines.append(f"Hatched: {count_of('tile', int((~mask).sum()))} not readable.")
    if missing:
        lines.append(missing)
    return page.finish("\n".join(lines))


def paint_tiles(colours: UInt8Array, coords: IntArray, view: View, mask: BoolArray) -> UInt8Array:
    """Tiles in their colours where they lie in a view: uint8 RGB (h, w, 3).

    Args:
        colours: uint8 RGB (N, 3).
        coords: int64 (N, 2), level-0 pixels.
        view: The part of the slide.
        mask: bool (N,), False = hatched.
    """
    picture = np.full((*view.shape, 3), PAPER_RGB, np.uint8)
    boxes = view.boxes(coords)
    for (left, top, right, bottom), colour in zip(boxes[mask].tolist(), colours[mask], strict=True):
        picture[top:bottom, left:right] = colour
    return picture if mask.all() else hatch_boxes(picture, boxes[~mask])


def _numbered(
    view: View, coords: IntArray, clusters: IntArray, mask: BoolArray, width_in: float
) -> list[tuple[tuple[float, float], int]]:
    """Where the number of each cluster is drawn: inside its largest piece, if that is not small.

    Args:
        view: The part of the slide.
        coords: int64 (N, 2), level-0 pixels.
        clusters: int64 (N,), from 0.
        mask: bool (N,), True = readable.
        width_in: How wide the picture is on the page, inches.
    """
    stride = view.geometry.stride_level0
    cell_in = stride / view.width * width_in
    cells = np.rint((coords - coords.min(axis=0)) / stride).astype(np.int64)
    width, height = (cells.max(axis=0) + 1).tolist()
    if width * height > MOST_CELLS:
        return []
    centres = view.centres(coords)
    places = []
    for cluster in np.unique(clusters[mask]).tolist():
        own = mask & (clusters == cluster)
        grid = np.zeros((height + 2, width + 2), np.uint8)
        grid[cells[own, 1] + 1, cells[own, 0] + 1] = 1
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(grid, connectivity=4)
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        if stats[largest, cv2.CC_STAT_AREA] < LEAST_NUMBERED * mask.sum():
            continue
        # The tile deepest inside of the piece, so that the number lies on it.
        depth = cv2.distanceTransform((pieces == largest).astype(np.uint8), cv2.DIST_L2, 3)
        rows = np.flatnonzero(own)
        depths = depth[cells[rows, 1] + 1, cells[rows, 0] + 1]
        best = rows[depths.argmax()]
        if depths.max() * cell_in < LEAST_DEPTH_IN:
            continue
        places.append(((float(centres[best, 0]), float(centres[best, 1])), cluster))
    return places
