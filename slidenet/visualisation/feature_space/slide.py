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
        (paint_tiles(colours, places.coords, view, mask), "features: components 1, 2, 3 as RGB"),
        (paint_tiles(of_cluster[clusters], places.coords, view, mask), "clusters of the cohort"),
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
    for number, (picture, caption) in enumerate(pictures):
        left = MARGIN + number * (width + GAP_IN)
        axes = draw_view(
            page, view, picture, (left, page.top, width), caption=caption, scale_bar=number == 0
        )
    for (x, y), cluster in _numbered(view, places.coords, clusters, mask):
        axes.text(
            x, y, str(cluster + 1), fontsize=8, weight="bold", color=DARK, ha="center",
            va="center", clip_on=True,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "alpha": 0.75,
                  "edgecolor": "none"},
        )  # fmt: skip
    page.top += width * view.aspect + 0.14
    counts = np.bincount(clusters[mask], minlength=num_clusters)
    shares = counts / max(counts.sum(), 1)
    words = [
        f"{number}: {share:.0%}" if count else f"{number}: none"
        for number, (share, count) in enumerate(zip(shares, counts, strict=True), 1)
    ]
    page.key(list(zip(of_cluster / 255, words, strict=True)))
    spread = f"{explained.sum():.0%} of the variance of the cohort is along these components"
    lines = [f"Shares are of the readable tiles of this slide. {spread}."]
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
    view: View, coords: IntArray, clusters: IntArray, mask: BoolArray
) -> list[tuple[tuple[float, float], int]]:
    """Where the number of each cluster is drawn: inside its largest piece, if that is not small."""
    stride = view.geometry.stride_level0
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
        best = rows[depth[cells[rows, 1] + 1, cells[rows, 0] + 1].argmax()]
        places.append(((float(centres[best, 0]), float(centres[best, 1])), cluster))
    return places
