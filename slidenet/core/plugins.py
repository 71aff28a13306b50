"""Code from outside slidenet: entry points of installed packages, and classes by their import path.

Importing is executing, so a plug-in is loaded only when it is named, and only where the name comes
from the user (the command line, a config file, Python). A file that names code (a bundle) needs the
user's word, see `Registry.require_own`.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from slidenet.core.errors import PluginError
from slidenet.core.provenance import Identity

PLUGIN_GROUPS = (
    "slidenet.attention",
    "slidenet.bag_models",
    "slidenet.segmentation_networks",
    "slidenet.segmenters",
    "slidenet.slide_encoders",
    "slidenet.slide_readers",
    "slidenet.tile_encoders",
)
"""The entry-point groups that packages may fill."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One object of another package, named and not yet loaded.

    Attributes:
        name: How users name it: the name of the entry point, or the import path itself.
        target: `package.module:Class`.
        group: The entry-point group; empty for an import path.
        distribution: The installed package that brings it; empty where none does (a file on
            PYTHONPATH).
        version: Version of the distribution.
    """

    name: str
    target: str
    group: str = ""
    distribution: str = ""
    version: str = ""

    def load(self) -> Any:
        """Imports the object. This runs code of the other package.

        Raises:
            PluginError: The import fails, whatever the reason, or there is no such object.
        """
        module_name, _, attribute = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        # Foreign code may fail in any way while it is imported; each of them is this one error.
        except Exception as error:
            package = f" of {self.distribution} {self.version}" if self.distribution else ""
            raise PluginError(
                f"{self.target}{package} cannot be loaded ({type(error).__name__}: {error})",
                expected="a class that can be imported",
                remedy="mend, update or uninstall that package"
                if self.distribution
                else "install its package, or put its folder on PYTHONPATH",
            ) from error
        return found

    def identity(self) -> Identity:
        """What enters the identity of files made with it: target, distribution and version.

        Code that belongs to no distribution is identified by the digest of its source: that of its
        module, or of the class alone where that is the script or notebook being run.
        """
        known: dict[str, str] = {"code": self.target}
        if self.distribution:
            return known | {"distribution": self.distribution, "version": self.version}
        module = importlib.import_module(self.target.partition(":")[0])
        try:
            source = inspect.getsource(self.load() if module.__name__ == "__main__" else module)
        except (OSError, TypeError):  # typed into a session: there is no source to look at
            return known
        return known | {"source_sha256": hashlib.sha256(source.encode()).hexdigest()}


def list_plugins(group: str = "") -> list[Plugin]:
    """Plug-ins of installed packages, by group and name; none of them is loaded.

    Args:
        group: One of `PLUGIN_GROUPS`; all of them by default.
    """
    groups = (group,) if group else PLUGIN_GROUPS
    return [plugin for name in groups for plugin in _entry_points(name)]


def find_plugin(name: str, group: str) -> Plugin | None:
    """The plug-in that users mean by `name`: an entry point of `group`, else an import path.

    Raises:
        PluginError: Two installed packages give the same name.
    """
    found = [plugin for plugin in _entry_points(group) if plugin.name == name]
    if len(found) > 1:
        names = " and ".join(plugin.distribution for plugin in found)
        raise PluginError(
            f"{name!r} of the group {group} is given by {names}",
            expected="one installed package per name",
            remedy="uninstall one of them, or give the import path package.module.Class",
        )
    if found:
        return found[0]
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        return None
    # A name with a dot in it whose package nobody has is a misspelt name, not an import path.
    package = module.partition(".")[0]
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        return None
    return _by_path(name, module, attribute)


@functools.cache
def code_identity(kind: type[Any]) -> Identity:
    """What a class adds to the identity of files made with it: nothing for slidenet's own.

    Returns:
        Empty, or `plugin` with `Plugin.identity()`.
    """
    if kind.__module__.partition(".")[0] == "slidenet":
        return {}
    plugin = _by_path(kind.__qualname__, kind.__module__, kind.__qualname__)
    return {"plugin": plugin.identity()}


def _by_path(name: str, module: str, attribute: str) -> Plugin:
    """The plug-in at an import path; the same code is the same plug-in, however it is named."""
    target = f"{module}:{attribute}"
    for plugin in list_plugins():
        if plugin.target == target:
            return Plugin(name, target, "", plugin.distribution, plugin.version)
    distributions = metadata.packages_distributions().get(module.partition(".")[0], [])
    distribution = distributions[0] if distributions else ""
    version = metadata.version(distribution) if distribution else ""
    return Plugin(name, target, "", distribution, version)


def _entry_points(group: str) -> Iterator[Plugin]:
    seen = set()
    for point in sorted(metadata.entry_points(group=group), key=lambda p: p.name):
        distribution, version = "", ""
        if point.dist is not None:
            distribution, version = point.dist.name, point.dist.version
        plugin = Plugin(point.name, point.value.replace(" ", ""), group, distribution, version)
        if plugin not in seen:  # a package found twice on the path counts once
            seen.add(plugin)
            yield plugin
