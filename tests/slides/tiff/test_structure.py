"""Sizes against what the description of an Aperio slide says."""

import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide

SIDE = 96


def write(path, description):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(32, 32), photometric="rgb", compression="deflate", metadata=None,
        description=f"Aperio Image Library v11.2.1 \n{description}|MPP = 0.5",
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("4000x3000 [10,20 97x96] (32x32) JPEG/RGB Q=30", "width is 96 px, one bit off the 97"),
        ("96x64 (32x32) J2K/KDU Q=70", "height is 96 px, one bit off the 64"),
        ("96x96 (32x48) JPEG/RGB Q=30", "tile height is 32 px, one bit off the 48"),
    ],
)
def test_a_size_one_bit_off_its_description_is_a_fault(tmp_path, said, name):
    with pytest.raises(UnreadableSlideError, match=name):
        open_slide(write(tmp_path / "x.svs", said))


@pytest.mark.parametrize(
    "said",
    [
        "4000x3000 [10,20 96x96] (32x32) JPEG/RGB Q=30;97x96 (32x32)",
        "4000x3000 [10,20 1000x1000] (32x32) JPEG/RGB Q=30",  # cut by another program since
        "of an unknown kind",
    ],
)
def test_descriptions_that_agree_or_were_kept_by_a_cut_are_none(tmp_path, said):
    with open_slide(write(tmp_path / "x.svs", said)) as slide:
        assert slide.level_dimensions == ((SIDE, SIDE),)
