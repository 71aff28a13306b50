"""Turns the typed signature of one verb into flags and YAML, calls it, and prints what it made.

A verb is a function of plain parameters and settings dataclasses. Plain parameters become flags;
the fields of a settings dataclass become flags too, without a prefix. What a verb returns knows how
to print itself (`table()`) and whether it went well (`exit_code`).
"""

import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, NoReturn, Protocol

import yaml
from jsonargparse import ArgumentParser, Namespace

from slidenet.cli.main import Verb
from slidenet.core.errors import SlidenetError


class Result(Protocol):
    """What a verb returns."""

    exit_code: int

    def table(self) -> str:
        """The text printed at the end."""


def call_verb(name: str, verb: Verb, arguments: Sequence[str]) -> int:
    """Parses `arguments`, calls the verb and prints its result.

    Returns:
        The exit code: the verb's own, or 2 when it was refused with an error for the user.
    """
    module, _, function_name = verb.function.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), function_name)
    if verb.own_flags:
        exit_code: int = function(arguments)
        return exit_code
    parser = build_parser(name, verb, function)
    try:
        result = function(**parse_arguments(parser, function, arguments))
    except SlidenetError as error:
        print(f"slidenet {name}: error: {error}", file=sys.stderr)
        return 2
    return print_result(result)


def print_result(result: Result) -> int:
    """Prints what a verb returned.

    Returns:
        Its exit code.
    """
    try:
        print(result.table(), flush=True)
    except BrokenPipeError:  # the reader (head, a pager) had seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.exit_code


class FlagParser(ArgumentParser):
    """jsonargparse with flags spelled the usual way: `--target-mpp 0.5`, `--icc`, `--no-icc`.

    Lists are written `a,b` or `[a,b]`; the items of lists of text are taken as they are typed, so
    that `no` and `0` are text too.
    """

    def parse_args(  # type: ignore[override]  # the superclass has variants nobody here calls
        self, args: Sequence[str] | None = None, *further: Any, **settings: Any
    ) -> Namespace:
        """Parses flags whose names are underscored (see `underscored`)."""
        if args is not None:
            args = with_lists(args, {o: a for a in self._actions for o in a.option_strings})
        return super().parse_args(args, *further, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One line saying what is wrong with the flags or the YAML, then exit code 2."""
        found = _plain_words(message)
        self.exit(2, f"{self.prog}: error: {found}. To fix: see `{self.prog} --help`\n")

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help text with dashes in flags."""
        return _dash_flags(str(super().format_help(*args, **kwargs)))

    def format_usage(self, *args: Any, **kwargs: Any) -> str:
        """The usage line with dashes in flags."""
        return _dash_flags(str(super().format_usage(*args, **kwargs)))


def build_parser(name: str, verb: Verb, function: Callable[..., Any]) -> FlagParser:
    """The parser of one verb, from the signature of its function."""
    summary = (inspect.getdoc(function) or verb.summary).splitlines()[0]
    parser = FlagParser(prog=f"slidenet {name}", description=summary, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file holding any of the flags")
    groups = settings_parameters(function)
    skip = {*groups, *({verb.positional} if verb.positional else ())}
    if verb.positional:
        hint = typing.get_type_hints(function)[verb.positional]
        if typing.get_origin(hint) is list:
            parser.add_argument(verb.positional, type=typing.get_args(hint)[0], nargs="+")
        else:
            parser.add_argument(verb.positional, type=hint)
    parser.add_function_arguments(function, skip=skip, fail_untyped=True)
    for settings in groups.values():
        parser.add_class_arguments(settings, None, fail_untyped=True)
    return parser


def parse_arguments(
    parser: FlagParser, function: Callable[..., Any], arguments: Sequence[str]
) -> dict[str, Any]:
    """The keyword arguments for `function`, from flags and `--config`."""
    values = parser.parse_args(underscored(arguments, _boolean_flags(function))).as_dict()
    call = {key: values[key] for key in inspect.signature(function).parameters if key in values}
    for parameter, settings in settings_parameters(function).items():
        call[parameter] = settings(**{f.name: values.get(f.name) for f in fields(settings)})
    return call


def settings_parameters(function: Callable[..., Any]) -> dict[str, type[Any]]:
    """The parameters of `function` that are settings dataclasses."""
    hints = typing.get_type_hints(function)
    names = inspect.signature(function).parameters
    return {n: hints[n] for n in names if isinstance(hints[n], type) and is_dataclass(hints[n])}


def _boolean_flags(function: Callable[..., Any]) -> set[str]:
    hints = typing.get_type_hints(function)
    found = {name for name, hint in hints.items() if hint is bool}
    for settings in settings_parameters(function).values():
        found |= {name for name, hint in typing.get_type_hints(settings).items() if hint is bool}
    return found


def underscored(arguments: Sequence[str], boolean: set[str]) -> list[str]:
    """`--target-mpp` to `--target_mpp`, `--icc` to `--icc=true`, `--no-icc` to `--icc=false`.

    Args:
        arguments: As typed.
        boolean: Names of flags that need no value.
    """
    result: list[str] = []
    for position, argument in enumerate(arguments):
        if not argument.startswith("--"):
            result.append(argument)
            continue
        flag, equals, value = argument[2:].partition("=")
        key = flag.replace("-", "_")
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if not equals and key in boolean and following not in ("true", "false"):
            result.append(f"--{key}=true")
        elif not equals and key.startswith("no_") and key[3:] in boolean:
            result.append(f"--{key[3:]}=false")
        else:
            result.append(f"--{key}{equals}{value}")
    return result


def with_lists(arguments: Sequence[str], flags: Mapping[str, Any]) -> list[str]:
    """The arguments with the values of flags that hold lists as JSON.

    Args:
        arguments: With flags as the parser knows them.
        flags: The parser's action of each flag.
    """
    result: list[str] = []
    waiting: type[Any] | None = None
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if waiting is not None:
            result.append(argument if argument.startswith("--") else _json_list(argument, waiting))
            waiting = None
        elif argument.startswith("--") and equals and (items := _item_type(flags.get(flag))):
            result.append(f"{flag}={_json_list(value, items)}")
        else:
            waiting = _item_type(flags.get(argument))
            result.append(argument)
    return result


def _item_type(action: Any) -> type[Any] | None:
    """Of what a flag holds a list: `str` or anything else; None for a flag that may be no list."""
    hint = getattr(action, "_typehint", None)
    kinds = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    lists = [kind for kind in kinds if typing.get_origin(kind) in _LISTS]
    others = {kind for kind in kinds if kind not in lists} - {type(None)}
    text = [str in typing.get_args(kind) for kind in lists]
    if not lists or others - ({str} if all(text) else set()):
        return None
    return str if all(text) else object


_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, tuple, Sequence)


def _json_list(value: str, items: type[Any]) -> str:
    """A list as typed, as JSON; what is no such list is left for the parser to refuse."""
    text = value.strip()
    if text in ("null", "") or (text.startswith("[") != text.endswith("]")):
        return value
    text = text if text.startswith("[") else f"[{text}]"
    if items is not str:
        return text
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)  # which makes text of everything
    except yaml.YAMLError:
        found = [None]
    if not all(isinstance(item, str) for item in found):  # a name such as "IDH: mutated"
        found = [item.strip() for item in text[1:-1].split(",")]
    return json.dumps(found)


def _plain_words(message: str) -> str:
    """A message of jsonargparse on one line, in the words of the command line."""
    if message.startswith("Unexpected config"):  # goes on with the whole file
        return "the file given as --config is not YAML of the form `flag: value`"
    flag = re.match(r'Parser key "([\w.]+)":', message)
    value = re.search(r"(?:Got value|Given value): (.*)", message)
    kinds = dict.fromkeys(re.findall(r"Expected an? (.+?)(?:\.(?: |$)|$)", message, re.MULTILINE))
    if not (flag and value and kinds):
        text = re.sub(r'Parser key "([\w.]+)"', r"--\1", " ".join(message.split()))
        missing = re.fullmatch(r"(the following arguments are required: )(.*)", text)
        if missing:
            text = missing[1] + re.sub(r"([\w.]+)", r"--\1", missing[2])
        return _dash_flags(text).rstrip(".")
    expected = " or ".join(_KIND_WORDS.get(kind, kind) for kind in kinds)
    expected = re.sub(r"typing\.Literal\[(.*?)\]", lambda m: m[1].replace("'", ""), expected)
    return _dash_flags(f"--{flag[1]} is {value[1]!r}; expected {expected}")


_KIND_WORDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text (in YAML in quotes)",
    "<class 'NoneType'>": "null",
    "<class 'list'>": "a list",
    "<class 'collections.abc.Sequence'>": "a list",
}


def _dash_flags(text: str) -> str:
    return re.sub(r"--[a-z][a-z0-9_.]*", lambda match: match.group().replace("_", "-"), text)
