"""JSON out of files that others may have written, read within bounds and without surprises.

Python's reader lets a later entry silently replace an earlier one of the same name, and takes texts
of any length and depth.
"""

import json
from collections import Counter
from typing import Any

MAX_BYTES = 64 << 20
MAX_DEPTH = 100


def parse_json(text: str | bytes, *, allow_nan: bool = False, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON text.

    Args:
        text: UTF-8 where bytes.
        allow_nan: Whether NaN and infinities are numbers, as Python writes them.
        max_bytes: A longer text is not read.

    Raises:
        ValueError: No JSON, two entries of one name, deeper than `MAX_DEPTH`, longer than
            `max_bytes`; the text is a clause that says so.
    """
    if len(text) > max_bytes:
        raise ValueError(f"{len(text):,} bytes of JSON; at most {max_bytes:,} are read")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_once_each,
            parse_constant=None if allow_nan else _refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 text ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"no JSON ({error.msg} in line {error.lineno}, column {error.colno})"
        ) from error
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [v for v in value.values() if isinstance(v, dict | list)]
    if isinstance(value, list):
        return [v for v in value if isinstance(v, dict | list)]
    return []


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"two entries named {twice[:100]!r}")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
