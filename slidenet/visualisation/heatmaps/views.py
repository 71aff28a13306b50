"""The part of a slide that a map is about, and the map painted on it.

Only the part that has tiles is shown: most of many slides is glass. In the map the slide itself is
a faint grey relief that the colours are multiplied with, so that white stays white, and a colour in
the picture is the one in the bar.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import Float64Array, IntArray, UInt8Array
from slidenet.core.errors import CoordinateError
from slidenet.core.records import TileGeometry
from slidenet.core.units import Microns
from slidenet.stores.tile_maps import TileMap, TileMaps
from slidenet.visualisation.heatmaps.scales import ColourScale
from slidenet.visualisation.overlay import cell_boxes
from slidenet.visualisation.overlay.damage import hatch_boxes
from slidenet.visualisation.overlay.outlines import blend
from slidenet.visualisation.overlay.tissue import DARK_LEVEL

MARGIN = 0.04
"""Of the longer side of what the tiles cover, left free around them."""
MAX_SIDE_PX = 1000
LEAST_SIDE_PX = 600
PAPER = 250.0
RELIEF_STEP = 5.0
"""Grey levels are whole numbers of it: files of fewer levels are smaller."""
FAINTEST = 0.74
"""How much of a colour the darkest tissue lets through."""
LEAST_SPAN = 8.0
"""Grey levels between glass and tissue, below which nothing is to be seen on the slide."""
EDGE_RGB = (93, 102, 117)
HATCH_RGB = (120, 120, 120)
"""Over tiles without a value; the colour of damage is that of evidence here."""


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of a slide, and its picture.

    Attributes:
        left: Level-0 pixels.
        top: Level-0 pixels.
        width: Level-0 pixels.
        height: Level-0 pixels.
        scale: Picture pixels per level-0 pixel.
        geometry: Sizes of tiles and slide.
        picture: uint8 RGB (h, w, 3), this part of the slide's overview; None where there is none.
    """

    left: float
    top: float
    width: float
    height: float
    scale: float
    geometry: TileGeometry
    picture: UInt8Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of its picture."""
        return max(round(self.height * self.scale), 1), max(round(self.width * self.scale), 1)

    @property
    def aspect(self) -> float:
        """Height by width."""
        return self.height / self.width

    @property
    def width_um(self) -> Microns:
        """How wide it is on the glass."""
        return Microns(self.width * self.geometry.slide_mpp.value)

    def boxes(self, coords: IntArray) -> IntArray:
        """Where tiles lie in its picture: (N, 4), (left, top, right, bottom), as `cell_boxes`."""
        shift = np.array([self.left, self.top] * 2) * self.scale
        boxes = cell_boxes(coords, self.geometry, self.scale) - np.rint(shift).astype(np.int64)
        height, width = self.shape
        return np.clip(boxes, 0, (width, height, width, height)).astype(np.int64)

    def centres(self, coords: IntArray) -> Float64Array:
        """Centres of tiles in units of its width: (N, 2), y upwards from the lower edge."""
        centre = coords + self.geometry.tile_size_px * self.geometry.scale / 2
        x = (centre[:, 0] - self.left) / self.width
        y = (self.top + self.height - centre[:, 1]) / self.width
        return np.stack([x, y], axis=1)


def view_of(maps: TileMaps, overview: UInt8Array | None) -> View:
    """The part of a slide where its tiles lie.

    Args:
        maps: The maps, with the places of their tiles.
        overview: uint8 RGB (h, w, 3), the whole slide; None where it cannot be read.

    Raises:
        CoordinateError: There are no tiles, or it is not known where they lie.
    """
    geometry = maps.geometry
    if not len(maps.coords) or not geometry.placed:
        raise CoordinateError(
            "tiles without places on their slide" if len(maps.coords) else "no tiles",
            expected="tiles that can be drawn where they lie",
            remedy="leave out the figures of this slide (--formats)",
            slide=maps.slide_id,
        )
    side = geometry.tile_size_px * geometry.scale
    near, far = maps.coords.min(axis=0), maps.coords.max(axis=0) + side
    margin = max(MARGIN * float((far - near).max()), side)
    slide = np.array((geometry.level0_width, geometry.level0_height), np.float64)
    near = np.maximum(near - margin, 0)
    far = np.minimum(far + margin, np.maximum(slide, far))
    width, height = (far - near).tolist()
    if overview is None:
        scale = MAX_SIDE_PX / max(width, height)
        return View(float(near[0]), float(near[1]), width, height, scale, geometry, None)
    scale = overview.shape[1] / geometry.level0_width
    left, top = np.floor(near * scale).astype(int).tolist()
    right, bottom = np.ceil(far * scale).astype(int).tolist()
    picture = overview[top:bottom, left:right]
    from_left, from_top = left / scale, top / scale
    longer = max(picture.shape[:2])
    factor = min(max(longer, LEAST_SIDE_PX), MAX_SIDE_PX) / longer
    if factor != 1:  # edges of tiles shall not fall on pixels of a coarse overview
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        picture = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
        scale *= factor
    height, width = (side / scale for side in picture.shape[:2])
    return View(from_left, from_top, width, height, scale, geometry, picture)


def paint_map(tile_map: TileMap, coords: IntArray, view: View, colours: ColourScale) -> UInt8Array:
    """The map as a picture: tiles in their colours over a faint slide, and an edge around them.

    Where tiles overlap, each shows its middle; see `cell_boxes`.

    Returns:
        uint8 RGB (h, w, 3), of the view's shape.
    """
    relief = _relief(view)
    colour = np.ones((*view.shape, 3), np.float32)
    covered = np.zeros(view.shape, np.uint8)
    boxes = view.boxes(coords)
    for (left, top, right, bottom), rgb in zip(
        boxes.tolist(), colours.rgb(tile_map.values) / np.float32(255), strict=True
    ):
        colour[top:bottom, left:right] = rgb
        covered[top:bottom, left:right] = 255
    painted = np.asarray(np.rint(colour * relief[..., None]), dtype=np.uint8)
    nowhere = np.isnan(tile_map.values)
    if nowhere.any():
        painted = hatch_boxes(painted, boxes[nowhere], HATCH_RGB)
    outlines, _ = cv2.findContours(covered, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    edges = cv2.drawContours(np.zeros(view.shape, np.uint8), outlines, -1, 255, 1)
    return blend(painted, edges.astype(np.uint8), EDGE_RGB, 0.55)


def _relief(view: View) -> npt.NDArray[np.float32]:
    """float32 (h, w), 0 to 255: the slide in pale grey, glass brightest; fluorescence inverted."""
    if view.picture is None:
        return np.full(view.shape, PAPER, np.float32)
    grey = cv2.cvtColor(view.picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if np.median(grey) <= DARK_LEVEL:
        grey = 255 - grey
    darkest, brightest = np.percentile(grey[::2, ::2], (2, 98))
    span = float(brightest - darkest)
    share = np.clip((grey - darkest) / span, 0, 1) if span >= LEAST_SPAN else np.float32(1)
    relief = PAPER * (FAINTEST + (1 - FAINTEST) * share)
    steps = np.rint(np.asarray(relief, np.float32) / RELIEF_STEP) * np.float32(RELIEF_STEP)
    return np.broadcast_to(np.asarray(steps, np.float32), view.shape)
