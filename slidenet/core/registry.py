"""Names to things, with an error that proposes the nearest names."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from slidenet.core.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-mostly mapping of names to entries of one kind.

    Args:
        kind: What the entries are, for messages ("tile encoder", "segmenter").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Adds `entry` under `name` and returns it; a name is given once."""
        assert name not in self._entries, f"{self.kind} {name!r} registered twice"
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise self.unknown(name) from None

    def unknown(self, name: str) -> UnknownNameError:
        """The error for a name nobody carries, listing the nearest ones."""
        near = difflib.get_close_matches(name, self._entries, n=4, cutoff=0.4)
        return UnknownNameError(
            f"unknown {self.kind} {name!r}",
            expected=f"one of {', '.join(sorted(self._entries))}" if not near else "",
            remedy=f"did you mean {' or '.join(near)}?" if near else "",
        )

    def __contains__(self, name: object) -> bool:
        # Mapping's own version catches KeyError, and ours raises a teaching error instead.
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
