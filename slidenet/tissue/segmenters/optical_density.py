"""The default: optical density above the slide's own ground, ink and haze told from tissue."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.tissue.finding import Finding, Reason
from slidenet.tissue.masks import clean_reasons
from slidenet.tissue.optics.dark import bright_tissue, is_dark_ground
from slidenet.tissue.optics.density import grown, make_sheet
from slidenet.tissue.optics.view import View, look
from slidenet.tissue.segmenters.base import PictureSegmenter


@dataclass(frozen=True)
class OpticalDensitySegmenter(PictureSegmenter):
    """Tissue is what absorbs light above the glass of its own slide, as stain does.

    The glass is fitted from the slide (white, tinted, unevenly lit, beside padding), the ground is
    flooded from it over all that is smooth, so that stain that ran out of a section is ground,
    too. What is left counts by its optical density above the ground, measured in the ground's own
    noise, or where it is enclosed by tissue. Ink is told by its ratios of densities, dust, bubbles
    and edges of glass by their lack of colour. Where the ground is dark (fluorescence), tissue is
    what is brighter, and a note says so.

    Attributes:
        segment_mpp: Resolution of the picture, microns per pixel. Evidence is gathered on pixels
            of about 16 microns, outlines are drawn on the picture's own.
        sensitivity: Density above the ground that makes a pixel tissue, in standard deviations of
            the ground; lower finds fainter tissue and more dirt.
        black_level: Pixels whose brightest channel is below this are scanner black (borders,
            unscanned area), no tissue; 0 turns this off. Not asked where the ground is dark.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
    """

    name: ClassVar[str] = "optical_density"
    knows_dark_ground: ClassVar[bool] = True
    finds_pale: ClassVar[bool] = True
    segment_mpp: float = 8.0
    sensitivity: float = 4.5
    black_level: int = 20
    min_area_um2: float = 4000.0
    max_hole_um2: float = 16_000.0

    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """See `PictureSegmenter.tissue`."""
        return self._look(image, lit, mpp).tissue

    def judge(
        self,
        image: UInt8Array,
        mpp: float,
        *,
        slide: str = "",
        readable: BoolArray | bool = True,
    ) -> Finding:
        """See `PictureSegmenter.judge`; ink, haze and debris are told, and the doubt."""
        readable = np.broadcast_to(readable, image.shape[:2])
        dark = is_dark_ground(image)
        black = np.zeros(readable.shape, np.bool_)
        if self.black_level and not dark:
            red, green, blue = cv2.split(image)
            brightest = np.asarray(cv2.max(cv2.max(red, green), blue))
            # With a rim of one pixel, where resampling mixed black with its surroundings.
            black = grown(brightest < self.black_level, 1)
        view = self._look(image, readable & ~black, mpp, dark=dark)
        reasons = clean_reasons(
            view.tissue & readable & ~black,
            pixel_area_um2=mpp * mpp,
            min_area_um2=self.min_area_um2,
            max_hole_um2=self.max_hole_um2,
        )
        bare = (reasons == Reason.GROUND) | (reasons == Reason.HOLE)
        reasons = np.where(bare & (view.reasons != Reason.GROUND), view.reasons, reasons)
        reasons[black & (reasons != Reason.TISSUE)] = Reason.BLACK
        reasons[~readable] = Reason.UNREADABLE
        found = reasons == Reason.TISSUE
        return Finding(found, reasons, view.doubt, view.notes)

    def _look(self, image: UInt8Array, lit: BoolArray, mpp: float, *, dark: bool = False) -> View:
        if not dark:
            return look(image, lit, mpp, self.sensitivity)
        found = bright_tissue(image, make_sheet(image, lit, mpp), mpp, self.sensitivity)
        ground = np.full(found.shape, Reason.GROUND, np.uint8)
        note = "dark ground: fluorescence? What is brighter was taken for tissue"
        return View(found, ground, 0.6, (note,))
