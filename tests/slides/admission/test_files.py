import os

import pytest

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.svs")
    with pytest.raises(UnreadableSlideError, match=r"a named pipe; expected a slide file"):
        open_slide(tmp_path / "pipe.svs")


def test_a_device_is_refused():
    with pytest.raises(UnreadableSlideError, match="a device"):
        open_slide("/dev/zero")
