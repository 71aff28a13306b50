"""OpenVINO without its reports of usage. No torch."""

import importlib
import importlib.util
import sys
from types import ModuleType

from slidenet.core.extras import require_extra

TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """OpenVINO, silent.

    As installed, importing it and converting a model post to a web address from forked processes
    and leave files in the home folder, by the package `openvino_telemetry`. OpenVINO does without
    where that cannot be imported: which is the case from here on, in this process.

    Raises:
        MissingExtraError: OpenVINO is not installed or does not run here.
    """
    if sys.modules.get(TELEMETRY) is None:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # what makes an import fail
    openvino = require_extra("openvino", extra="cpu", purpose="the engine openvino")
    if sys.modules.get(TELEMETRY) is not None:
        # Somebody else imported it before, and it reported that; conversions shall not.
        stub = importlib.import_module("openvino.tools.ovc.telemetry_stub")
        for name in ("convert_impl", "telemetry_utils"):
            vars(importlib.import_module(f"openvino.tools.ovc.{name}"))["tm"] = stub
    return openvino


def openvino_is_installed() -> bool:
    """Whether the package is there; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None
