"""Wrong bytes in the index of a TIFF: refused, or harmless, but never an error of ours."""

import numpy as np
import pytest

from slidenet.testing.tiff_fuzz import facts_of, fuzz_seeds, mutant


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return fuzz_seeds(tmp_path_factory.mktemp("seeds"))


def test_whole_files_are_believed(seeds, tmp_path):
    for name, seed in seeds.items():
        path = tmp_path / "x.tif"
        path.write_bytes(seed.data)
        assert facts_of(path) is not None, name


def test_a_seeded_sample(seeds, tmp_path):
    rng = np.random.default_rng(20)
    path = tmp_path / "x.tif"
    names = list(seeds)
    refused = 0
    for number in range(200):
        path.write_bytes(mutant(seeds[names[number % len(names)]], rng))
        refused += facts_of(path) is None
    assert 130 < refused < 200


def test_a_flipped_bit_of_a_side_is_found_or_the_tiles_lie_as_before(seeds, tmp_path):
    """A side may be wrong by less than a tile: then another level says so, and no tile moves."""
    path = tmp_path / "x.tif"
    for name in ("classic", "bigtiff"):
        data = seeds[name].data
        path.write_bytes(data)
        truth = facts_of(path)
        for side in (b"\x60\x00", b"\x50\x00"):
            place = data.index(side)
            for bit in range(16):
                flipped = bytearray(data)
                flipped[place + bit // 8] ^= 1 << bit % 8
                path.write_bytes(flipped)
                facts = facts_of(path)
                if facts is not None and facts != truth:
                    assert facts[0][6:8] == truth[0][6:8], (name, side, bit)
                    assert not facts[1][8], (name, side, bit)
