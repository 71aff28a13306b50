"""JSON files of a run, which somebody may have changed, cut short or put there."""

from pathlib import Path
from typing import Any

from slidenet.core.checks import ErrorClass
from slidenet.core.errors import StoreError
from slidenet.core.json_text import MAX_BYTES, parse_json


def read_json(
    path: Path,
    *,
    remedy: str,
    needs: tuple[str, ...] = (),
    error: ErrorClass = StoreError,
    allow_nan: bool = True,
) -> dict[str, Any]:
    """The object in a file that slidenet wrote.

    Args:
        path: The file.
        remedy: What the user can do where it is damaged.
        needs: Entries that must be there.
        error: What to raise.
        allow_nan: Whether NaN and infinities are numbers, as metrics may be.

    Raises:
        StoreError: (or `error`) It cannot be read, is no JSON object or lacks an entry.
    """
    try:
        with path.open("rb") as file:
            value = parse_json(file.read(MAX_BYTES + 1), allow_nan=allow_nan)
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror})", remedy=remedy) from failure
    except ValueError as failure:
        raise error(
            f"{path} is damaged: {failure}", expected="what slidenet wrote there", remedy=remedy
        ) from failure
    missing = [name for name in needs if not isinstance(value, dict) or name not in value]
    if missing or not isinstance(value, dict):
        lacks = f"lacks {', '.join(missing)}" if missing else "holds no object"
        raise error(f"{path} {lacks}", expected="what slidenet wrote there", remedy=remedy)
    return value
