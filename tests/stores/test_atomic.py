import errno
import os

import h5py
import pytest

from slidenet.core.errors import OutputError
from slidenet.stores import check_output_folder
from slidenet.stores.atomic import atomic_path
from slidenet.stores.h5.file import create_h5


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_overwritten(tmp_path):
    path = tmp_path / "file.h5"
    (tmp_path / ".file.h5.tmp").write_text("torn")
    with create_h5(path) as new:
        new.h5["x"] = 1
    assert list(tmp_path.iterdir()) == [path]
    with h5py.File(path) as file:
        assert file["x"][()] == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, r"no room left while writing .*file.h5 .*free some disk space"),
        (errno.EDQUOT, "no room left"),
        (errno.EROFS, r"file.h5 cannot be written \(Read-only file system\).*choose another"),
        (errno.EACCES, "cannot be written .*the right to write"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_each_error_has_its_remedy(tmp_path, monkeypatch, code, message):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("slidenet.stores.atomic.os.replace", refuse)
    with (
        pytest.raises(OutputError, match=f"'slide_1': .*{message}"),
        create_h5(tmp_path / "file.h5", slide="slide_1") as new,
    ):
        new.h5["x"] = 1
    assert list(tmp_path.iterdir()) == []


def test_output_folder_is_made(tmp_path):
    folder = check_output_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_output_folder_is_a_file(tmp_path):
    (tmp_path / "a").write_text("x")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="choose another output folder"):
            check_output_folder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_is_read_only(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="Permission denied"):
        check_output_folder(tmp_path)


def test_output_folder_on_a_read_only_disk(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(OutputError, match=r"Read-only file system.*another output folder"):
        check_output_folder(tmp_path)
