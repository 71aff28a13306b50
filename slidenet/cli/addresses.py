"""Flags that take files and folders of this machine, and no addresses of object stores."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from slidenet.core.errors import ConfigError
from slidenet.stores.objects.uri import shown_uri, uri_of

TAKE_ADDRESSES = {"slides", "slide"}


def refuse_addresses(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuses addresses of objects where a verb knows files alone.

    Args:
        function: The verb.
        values: Of its parameters.

    Raises:
        ConfigError: Naming the flag and what to do.
    """
    taken = TAKE_ADDRESSES | ({"out"} if getattr(function, "takes_buckets", False) else set())
    given = {
        **{name: value for name, value in values.items() if not is_dataclass(value)},
        **{
            field.name: getattr(value, field.name)
            for value in values.values()
            if is_dataclass(value)
            for field in fields(value)
        },
    }
    for name, value in given.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            uri = uri_of(one) if isinstance(one, Path) else None
            if uri is not None and name not in taken:
                shown = shown_uri(uri)
                copying = f"copy it here first (such as `aws s3 sync {shown} FOLDER`)"
                if name == "out" and "features" not in given and "run" not in given:
                    copying = f"give a folder and copy it there (`aws s3 sync FOLDER {shown}`)"
                raise ConfigError(
                    f"--{name.replace('_', '-')} is {shown}",
                    expected="a file or folder of this machine",
                    remedy=f"{copying}; `docs/scaling.md` says which verbs know buckets",
                )
