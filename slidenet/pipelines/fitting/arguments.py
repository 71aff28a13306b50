"""Settings of a fit as plain values, checked and completed as the command line does it."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from slidenet.core.errors import ConfigError
from slidenet.core.registry import Registry


def typed_arguments(
    what: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    skip: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All arguments of a function or class, as their types ask: texts become paths, and so on.

    Args:
        what: Names the settings in messages: "data", "model", "trainer".
        function: Whose arguments they are.
        given: Some of them; objects, or `{"class_path": ..., "init_args": ...}` as in YAML.
        skip: Parameters that are no settings.
        defaults: Replace those of the signature.

    Raises:
        UnknownNameError: There is no such argument.
        ConfigError: A value does not fit its type, or one is missing.
    """
    known: Registry[None] = Registry(f"{what} setting")
    for name in parameters(function) - set(skip):
        known.add(name, None)
    for name in given:
        known[name]
    parser = argument_parser(function, frozenset(skip))
    try:
        found: dict[str, Any] = parser.parse_object({**(defaults or {}), **given}).as_dict()
    except ArgumentError as error:
        raise ConfigError(f"{what} settings: {' '.join(str(error).split())}") from error
    return found


def parameters(function: Callable[..., Any]) -> set[str]:
    """The names of the parameters of a function or class, those it hands on included."""
    return set(argument_parser(function, frozenset()).get_defaults().keys())


@functools.cache
def argument_parser(function: Callable[..., Any], skip: frozenset[str]) -> ArgumentParser:
    """The parser of the arguments of a function or class, but for those skipped."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(
        function, None, skip=set(skip), fail_untyped=False, instantiate=False
    )
    return parser
