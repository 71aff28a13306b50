"""Import of optional packages, with an error that says what to install."""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from slidenet.core.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas


def require_extra(module: str, *, extra: str | None, purpose: str) -> ModuleType:
    """Imports `module`, or raises `MissingExtraError` naming the extra that brings it.

    Args:
        module: Of a package that need not be there.
        extra: Of slidenet, that brings it; None where none does, and the package is named.
        purpose: What needs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {module!r}, which cannot be imported ({error})",
            remedy=f"pip install 'slidenet[{extra}]'" if extra else f"pip install {module}",
        ) from error


def data_frame(rows: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
    """Rows as a pandas table, columns in the order they first come in.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    library = require_extra("pandas", extra="pandas", purpose="a table of pandas")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return library.DataFrame(rows, columns=columns)
