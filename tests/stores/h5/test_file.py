import errno

import h5py
import pytest

from slidenet.core.errors import StoreError
from slidenet.stores.h5.file import _CarefulFile, open_group, open_h5


def test_a_file_on_a_disk_that_fails_is_not_called_spoilt(tmp_path):
    path = tmp_path / "a.h5"
    h5py.File(path, "w").close()
    with (
        pytest.raises(StoreError, match="Input/output error") as caught,
        open_h5(path),
    ):
        raise OSError(errno.EIO, "Can't synchronously read data")
    assert "delete" not in str(caught.value)
    assert "see whether the disk or the share is well" in caught.value.remedy


@pytest.mark.parametrize("method", ["write", "readinto", "truncate"])
def test_what_goes_wrong_while_writing_is_raised_at_the_end(tmp_path, method):
    with (tmp_path / "raw").open("wb+", buffering=0) as raw:
        file = _CarefulFile(_Failing(raw, method))
        assert getattr(file, method)(bytearray(b"abc") if method != "truncate" else 3) == 3
        with pytest.raises(MemoryError, match="no"):
            file.raise_error()


class _Failing:
    def __init__(self, raw, method):
        self._raw, self._method = raw, method

    def __getattr__(self, name):
        if name == self._method:
            raise MemoryError("no")
        return getattr(self._raw, name)


def test_a_file_that_is_no_h5_is_called_spoilt(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"abc" * 1000)
    with pytest.raises(StoreError, match="spoilt") as caught, open_h5(path):
        pass
    assert "delete it and make it again" in caught.value.remedy


@pytest.mark.parametrize("content", [None, b"", b"no HDF5 at all", "folder"])
def test_a_group_is_opened_quickly_and_refused_as_a_file_is(tmp_path, content):
    path = tmp_path / "a.h5"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError) as slow, open_h5(path):
        pass
    with pytest.raises(StoreError) as quick, open_group(path, "slidenet"):
        pass
    assert str(quick.value) == str(slow.value)


def test_a_group_that_is_missing_or_breaks_is_named(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as h5:
        h5.create_group("slidenet").attrs["number"] = 3
    with open_group(path, "slidenet") as group:
        assert group.attrs["number"] == 3
    with pytest.raises(StoreError, match="no group /other"), open_group(path, "other"):
        pass
    with pytest.raises(StoreError, match="cannot be read as HDF5"), open_group(path, "slidenet"):
        raise OSError("checksum mismatch")
    path.unlink()  # and nothing holds it open
