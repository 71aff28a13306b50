"""The tissue of a folder of tile images: whoever cut the tiles has chosen already."""

import numpy as np

from slidenet.core.errors import SlideError
from slidenet.slides import Slide
from slidenet.tissue.tissue import Tissue, tissue_on

AS_CUT = "as_cut"
"""What identities have in place of a segmenter where all tile images of a folder were taken."""

MASK_PX = 2048
_ROUNDING = 1e-6


def tissue_as_cut(slide: Slide) -> Tissue:
    """Every tile of a folder of tile images, in a mask that covers each of them wholly."""
    cut = slide.cut_tiles
    assert cut is not None, "the caller has looked"
    size = np.array(slide.level_dimensions[0])
    scale = np.minimum(1, MASK_PX / size.max())
    width, height = (int(side) for side in np.ceil(size * scale))
    to_mask = np.array([width, height]) / size
    side = cut.tile_size_px * cut.tile_mpp / slide.slide_mpp.value
    low = np.floor(cut.coords * to_mask + _ROUNDING).astype(np.intp)
    high = np.ceil((cut.coords + side) * to_mask - _ROUNDING).astype(np.intp)
    mask = np.zeros((height, width), dtype=np.bool_)
    for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return tissue_on(slide, mask, {"segmenter": AS_CUT})


def check_placed(slide: Slide, what: str) -> None:
    """Refuses what needs to know where the tiles of a slide lie, where nobody knows.

    Args:
        slide: An open slide.
        what: What needs it, for the message.

    Raises:
        SlideError: The slide is a folder of tile images without places.
    """
    if slide.cut_tiles is not None and not slide.cut_tiles.placed:
        raise SlideError(
            f"its tile images have no places, which {what} needs",
            expected="places in the names of the images or in a CSV, and --tile-frame",
            remedy=f"leave out {what}",
            slide=slide.path.name,
        )
