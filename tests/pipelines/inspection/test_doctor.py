"""What `slidenet doctor` says of this machine."""

import sys

from slidenet.core.provenance import software_version
from slidenet.pipelines.inspection.doctor import _engine
from slidenet.tile_encoders.engines.silence import openvino_is_installed


def test_it_says_which_engine_runs_encoders_on_a_cpu(monkeypatch):
    if openvino_is_installed():
        assert (_engine().verdict, _engine().found) == (
            "ok",
            f"openvino {software_version('openvino')}",
        )
    monkeypatch.setitem(sys.modules, "openvino", None)
    check = _engine()
    assert check.verdict == "warning"
    assert "cannot be imported" in check.found
    assert "slidenet[cpu]" in check.remedy
