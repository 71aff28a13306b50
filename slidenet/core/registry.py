"""Names to things: slidenet's own, and those of installed packages when they are named."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from slidenet.core.errors import PluginError, UnknownNameError
from slidenet.core.plugins import Plugin, find_plugin, list_plugins
from slidenet.core.provenance import Identity

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-mostly mapping of names to entries of one kind.

    With a `group`, a name that is none of slidenet's own may also be an entry point of that group
    or an import path `package.module.Class`; it is imported when it is looked up, never before.
    Iteration, `len` and `in` see slidenet's own entries only.

    Args:
        kind: What the entries are, for messages ("tile encoder", "segmenter").
        group: Entry-point group of plug-ins; without one there are none.
        accepts: Whether an object of another package can be an entry.
        expected: What `accepts` asks for, in words.
    """

    def __init__(
        self,
        kind: str,
        *,
        group: str = "",
        accepts: Callable[[Any], bool] = callable,
        expected: str = "a class or a function",
    ) -> None:
        self.kind = kind
        self.group = group
        self._accepts = accepts
        self._expected = expected
        self.other_names: dict[str, str] = {}
        self._entries: dict[str, T] = {}
        self._loaded: dict[str, T] = {}
        self._identities: dict[str, Identity] = {}

    def add(self, name: str, entry: T) -> T:
        """Adds `entry` under `name` and returns it; a name is given once."""
        assert name not in self._entries, f"{self.kind} {name!r} registered twice"
        self._entries[name] = entry
        return entry

    def add_other_names(self, names: Mapping[str, str]) -> None:
        """Names that people use for entries, each with what it is called here, for the error.

        Args:
            names: Lower case with underscores, to an answer that begins with the entry's name
                ("'sliding_window' (causal=True)").
        """
        self.other_names |= names

    def __getitem__(self, name: str) -> T:
        """The entry of that name; slidenet's own names win over plug-ins.

        Raises:
            UnknownNameError: Nobody carries this name; the nearest ones are proposed.
            PluginError: The plug-in of that name cannot be loaded, or is something else.
        """
        if name in self._entries:
            return self._entries[name]
        if name not in self._loaded:
            plugin = self.plugin(name)
            if plugin is None:
                raise self.unknown(name)
            entry: T = plugin.load()
            if not self._accepts(entry):
                raise PluginError(
                    f"{plugin.target} is no {self.kind}",
                    expected=self._expected,
                    remedy="name another class, or see CONTRIBUTING.md for what one must be",
                )
            self._loaded[name] = entry
        return self._loaded[name]

    def plugin(self, name: str) -> Plugin | None:
        """The plug-in behind a name, not loaded; None for slidenet's own and unknown names."""
        if not self.group or name in self._entries:
            return None
        return find_plugin(name, self.group)

    def plugin_identity(self, name: str) -> Identity:
        """What a plug-in adds to the identity of files made with it; empty for slidenet's own."""
        if name not in self._identities:
            plugin = self.plugin(name)
            self._identities[name] = {} if plugin is None else {"plugin": plugin.identity()}
        return self._identities[name]

    def require_own(self, name: str, *, source: str, allow_code: bool) -> None:
        """Refuses a name that a file gives where it stands for code outside slidenet.

        Args:
            name: As the file says.
            source: The file, for the message.
            allow_code: The user's word that this file may name code (`--allow-code`).

        Raises:
            PluginError: Naming the code.
        """
        plugin = self.plugin(name)
        if plugin is not None and not allow_code:
            raise PluginError(
                f"{source} names the {self.kind} {name!r}, which is code outside slidenet "
                f"({plugin.target})",
                expected="one of slidenet's own",
                remedy="look at that code and, if you trust it, give --allow-code",
            )

    def unknown(self, name: str) -> UnknownNameError:
        """The error for a name nobody carries: what it is called here, or the nearest names."""
        answer = self.other_names.get("_".join(name.lower().replace("-", " ").split()))
        if answer is not None:
            return UnknownNameError(
                f"unknown {self.kind} {name!r}", remedy=f"{name!r} is called {answer} here"
            )
        plugins = [plugin.name for plugin in list_plugins(self.group)] if self.group else []
        names = sorted({*self._entries, *plugins})
        near = difflib.get_close_matches(name, names, n=4, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else ""
        if not near and self.group and "." in name:
            remedy = "for an import path, install its package, or put its folder on PYTHONPATH"
        return UnknownNameError(
            f"unknown {self.kind} {name!r}",
            expected=f"one of {', '.join(names)}" if not near else "",
            remedy=remedy,
        )

    def __contains__(self, name: object) -> bool:
        # Mapping's own version catches KeyError, and ours raises a teaching error instead.
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
