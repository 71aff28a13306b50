"""Starts ranks for tests: processes that speak gloo on this machine."""

import sys
from pathlib import Path

# Processes of ranks import what they run by its plain name.
sys.path.insert(0, str(Path(__file__).parent))
