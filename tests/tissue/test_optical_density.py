import numpy as np
import pytest

from slidenet.tissue import OpticalDensitySegmenter


@pytest.mark.parametrize("rgb", [(216, 222, 236), (205, 215, 226), (212, 218, 232)])
def test_a_pale_blue_counterstain_beside_stained_tissue_is_no_ink(rgb):
    rng = np.random.default_rng(5)
    picture = np.full((160, 200, 3), 240.0)
    picture[40:120, 20:80] = (190, 120, 170)
    picture[40:120, 110:180] = rgb
    picture += rng.normal(0, 0.8, picture.shape) + 2 * rng.normal(size=(160, 200, 1))
    found = OpticalDensitySegmenter().mask(picture.round().astype(np.uint8), 8.0)
    truth = np.zeros(found.shape, bool)
    truth[40:120, 20:80] = truth[40:120, 110:180] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95
