import numpy as np
import pytest

from slidenet.slides import open_slide
from slidenet.testing.layouts import halved_levels, write_layout


@pytest.mark.parametrize("aperio", [True, False])
def test_places_without_bytes_are_told(tmp_path, aperio):
    """Also of Aperio slides that the tiled reader leaves to openslide."""
    picture = np.random.default_rng(0).integers(60, 200, (193, 321, 3), np.uint8)
    path = write_layout(
        tmp_path / "x.tif",
        halved_levels(picture, 2),
        aperio=aperio,
        missing={0: [2, 3, 8, 9], 1: [0, 1]},
    )
    with open_slide(path, reader="openslide") as slide:
        assert slide.vendor == ("aperio" if aperio else "generic-tiff")
        assert slide.has_stored((0, 0), 0, (64, 64))
        assert not slide.has_stored((128, 0), 0, (128, 64))
        assert slide.has_stored((120, 0), 0, (64, 64))
        # A lower level of Aperio is shown from the finer one, where that is stored.
        assert slide.has_stored((0, 0), 1, (64, 64)) is aperio
        assert not slide.has_stored((66, 2), 1, (50, 20))


def test_a_canvas_is_stored_where_it_was_scanned(tmp_path):
    """Leica and MIRAX say which part of the glass they scanned; the rest costs no reading."""
    picture = np.zeros((300, 400, 3), np.uint8)
    path = write_layout(tmp_path / "x.tif", halved_levels(picture, 2))
    with open_slide(path, reader="openslide") as slide:
        slide.vendor = "leica"
        assert slide.has_stored((0, 0), 0, (10, 10))  # where nothing is said
        part = {"x": "100", "y": "40", "width": "60", "height": "50"}
        slide.properties |= {f"openslide.region[0].{side}": part[side] for side in part}
        slide.properties |= {f"openslide.bounds-{side}": "0" for side in ("x", "y")}
        slide.properties |= {"openslide.bounds-width": "400", "openslide.bounds-height": "300"}
        del slide._scanned
        assert slide.has_stored((155, 85), 0, (10, 10))
        assert not slide.has_stored((0, 0), 0, (90, 90))
        assert slide.has_stored((40, 10), 1, (15, 15))
        assert not slide.has_stored((90, 10), 1, (15, 15))
