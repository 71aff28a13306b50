"""A plug-in that cannot be imported, as they happen after an update of a library."""

raise RuntimeError("the library this needs has changed")
