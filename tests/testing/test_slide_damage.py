import shutil

import numpy as np
import pytest

from slidenet.testing import write_pyramid
from slidenet.testing.slide_damage import HEADER_FAULTS, PAYLOAD_FAULTS, damage_slide


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory):
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)

    def paint(x, y, width, height):
        return picture[y : y + height, x : x + width]

    path = tmp_path_factory.mktemp("slide") / "x.tif"
    return write_pyramid(path, 300, 300, 0.5, paint, tile_px=64, jpeg_quality=80)


@pytest.mark.parametrize("kind", [*PAYLOAD_FAULTS, *HEADER_FAULTS])
def test_every_kind_changes_the_file_the_same_way_for_a_seed(kind, undamaged, tmp_path):
    once, twice = (shutil.copyfile(undamaged, tmp_path / name) for name in ("a.tif", "b.tif"))
    damage = damage_slide(once, kind, seed=3)
    assert damage == damage_slide(twice, kind, seed=3)
    assert once.read_bytes() == twice.read_bytes() != undamaged.read_bytes()
    assert (damage.tiles is None) == (kind in HEADER_FAULTS)
