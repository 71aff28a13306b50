"""Import of optional packages, with an error that says what to install."""

import importlib
from types import ModuleType

from slidenet.core.errors import MissingExtraError


def require_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports `module`, or raises `MissingExtraError` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {module!r}, which cannot be imported ({error})",
            remedy=f"pip install 'slidenet[{extra}]'",
        ) from error
