"""Puts the faults of `SLIDENET_FAULTS` into each Python started with this folder on its path."""

import json
import os

if "SLIDENET_FAULTS" in os.environ:
    import openslide  # noqa: F401 - what reads slides imports it anyway; its calls are wrapped
    from injection import install

    # The process under test installs its own; this is one that it started to read slides.
    install(json.loads(os.environ["SLIDENET_FAULTS"]), role="reader")
