"""The tissue of a folder of tile images: whoever cut the tiles has chosen already."""

import numpy as np

from slidenet.core.errors import SlideError
from slidenet.slides import Slide
from slidenet.tissue.tissue import Tissue, tissue_on

AS_CUT = "as_cut"
"""What identities have in place of a segmenter where all tile images of a folder were taken."""


def tissue_as_cut(slide: Slide) -> Tissue:
    """Every tile of a folder of tile images."""
    return tissue_on(slide, np.ones((1, 1), dtype=np.bool_), {"segmenter": AS_CUT})


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
