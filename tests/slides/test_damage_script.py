"""A sample of scripts/damage_slides.py: one fault of each kind, read in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from slidenet.testing.slide_damage import HEADER_FAULTS, PAYLOAD_FAULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_dies_hangs_or_is_called_ok_in_silence():
    kinds = len(PAYLOAD_FAULTS) + len(HEADER_FAULTS)
    command = [sys.executable, "scripts/damage_slides.py", "--faults", str(kinds), "--seed", "7"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "wrong: 0" in run.stdout
    for kind in (*PAYLOAD_FAULTS, *HEADER_FAULTS):
        assert f"| {kind.replace('_', ' ')} | 1 |" in run.stdout
