import hashlib
import re

import numpy as np
import pytest

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import check_sha256, fingerprint_file

BLOCK = 65536


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.svs"
    path.write_bytes(np.random.default_rng(0).bytes(5 * 1024 * 1024))
    return path


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_value_of_a_small_file(tmp_path):
    path = tmp_path / "small.svs"
    path.write_bytes(b"pixels")
    wanted = hashlib.sha256(b"slidenet fingerprint 1\n6\npixels").hexdigest()
    assert fingerprint_file(path) == wanted


def test_moving_keeps_it_and_size_changes_it(tmp_path, big):
    before = fingerprint_file(big)
    assert re.fullmatch("[0-9a-f]{64}", before)
    moved = big.rename(tmp_path / "other.tif")
    assert fingerprint_file(moved) == before
    with moved.open("ab") as file:
        file.write(b"\0")
    assert fingerprint_file(moved) != before


@pytest.mark.parametrize("offset", [0, 5 * 1024 * 1024 - 1])
def test_first_and_last_byte_count(big, offset):
    before = fingerprint_file(big)
    byte = big.read_bytes()[offset]
    overwrite(big, offset, bytes([byte ^ 1]))
    assert fingerprint_file(big) != before


def test_blocks_are_spread_evenly(big):
    """Every stretch of 3 blocks holds bytes that count."""
    size = big.stat().st_size
    before = fingerprint_file(big)
    original = big.read_bytes()
    for start in range(0, size - 3 * BLOCK, 3 * BLOCK):
        overwrite(big, start, bytes(3 * BLOCK))
        assert fingerprint_file(big) != before
        overwrite(big, start, original[start : start + 3 * BLOCK])
    assert fingerprint_file(big) == before


def test_mirax_companions_count(tmp_path):
    path = tmp_path / "case.mrxs"
    path.write_bytes(b"thumb")
    alone = fingerprint_file(path)
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "Slidedat.ini").write_bytes(b"[GENERAL]")
    (folder / "Data0000.dat").write_bytes(bytes(100))
    whole = fingerprint_file(path)
    (folder / "Data0000.dat").write_bytes(bytes(101))
    longer = fingerprint_file(path)
    (folder / "Data0000.dat").unlink()
    lacking = fingerprint_file(path)
    assert len({alone, whole, longer, lacking}) == 4


def test_hamamatsu_companions_are_those_the_index_names(tmp_path):
    path = tmp_path / "case.vms"
    path.write_text("[Virtual Microscope Specimen]\nImageFile=a.jpg\nMapFile=map.jpg\nLayers=1\n")
    (tmp_path / "a.jpg").write_bytes(bytes(10))
    before = fingerprint_file(path)
    (tmp_path / "stranger.jpg").write_bytes(bytes(10))
    assert fingerprint_file(path) == before
    (tmp_path / "a.jpg").write_bytes(bytes(11))
    assert fingerprint_file(path) != before


def test_dicom_companions_are_those_of_the_series(tmp_path):
    def write(name, series, size):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + series.encode() + bytes(size))

    write("1.dcm", "1.2.3", 10)
    write("2.dcm", "1.2.3", 20)
    write("3.dcm", "9.9.9", 30)
    path = tmp_path / "1.dcm"
    before = fingerprint_file(path, dicom_series="1.2.3")
    write("3.dcm", "9.9.9", 31)
    assert fingerprint_file(path, dicom_series="1.2.3") == before
    write("2.dcm", "1.2.3", 21)
    assert fingerprint_file(path, dicom_series="1.2.3") != before


def test_the_digest_of_the_whole_file(big, tmp_path):
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    check_sha256(big, digest)
    overwrite(big, 3 * 1024 * 1024 + 7, b"\x00\x01")
    with pytest.raises(UnreadableSlideError, match=r"its SHA-256 is .* the manifest says"):
        check_sha256(big, digest)
    with pytest.raises(UnreadableSlideError, match="cannot be opened"):
        check_sha256(tmp_path / "none.svs", digest)
