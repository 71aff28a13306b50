"""A list of named checks with their remedies, as `doctor` and `validate` print it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from slidenet.core.text import text_table

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        verdict: ok, warning (works, but not as well as it could) or problem.
        found: What was found.
        remedy: What to do, where there is something to do.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckList:
    """Checks in the order they were made."""

    checks: Sequence[Check]

    @property
    def exit_code(self) -> int:
        """1 when any check is a problem, else 0."""
        return int(any(check.verdict == "problem" for check in self.checks))

    def table(self) -> str:
        """One line per check, remedies below their line."""
        rows: list[tuple[str, ...]] = []
        for check in self.checks:
            rows.append((f"{check.verdict:<7}", check.name, check.found))
            if check.remedy:
                rows.append(("", "", f"-> {check.remedy}"))
        return text_table(None, rows)
