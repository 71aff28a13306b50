"""Turns the typed signature of a verb into flags and YAML.

A verb is a function. Its parameters of plain types become flags; a parameter that is a settings
dataclass becomes the flags of its fields, without a prefix; parameters of other types (models,
runners) are for Python only.
"""

import argparse
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Union

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, Namespace

from slidenet.core.escapes import in_terminal


class FlagParser(ArgumentParser):
    """jsonargparse with flags spelled the usual way: `--target-mpp 0.5`, `--icc`, `--no-icc`.

    Lists are written `a,b` or `[a,b]`, and `a b` where every argument has a flag; the items of
    lists of text are taken as they are typed, so that `no` and `0` are text too.

    Attributes:
        renamed: Former names of flags (and keys of YAML) and what they are called now.
    """

    renamed: Mapping[str, str] = {}

    def parse_args(  # type: ignore[override]  # the superclass has variants nobody here calls
        self, args: Sequence[str] | None = None, *further: Any, **settings: Any
    ) -> Namespace:
        """Parses flags as they are typed."""
        if args is not None:
            actions = {option: a for a in self._actions for option in a.option_strings}
            hints = {a.dest: getattr(a, "_typehint", None) for a in self._actions}
            boolean = {name for name, hint in hints.items() if hint in (bool, bool | None)}
            args = underscored(args, boolean)
            for argument in args:
                self._refuse_renamed(argument.partition("=")[0].removeprefix("--"))
            named = not any(not action.option_strings for action in self._actions)
            args = with_lists(args, actions, spaced=named)
        return super().parse_args(args, *further, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One line saying what is wrong with the flags or the YAML, then exit code 2."""
        group = re.match(r"Group '([\w.]+)' ", message)
        unknown = re.search(r"ption '([\w.]+)' ", message)
        if unknown:
            self._refuse_renamed(f"{group[1]}.{unknown[1]}" if group else unknown[1])
        positional = {action.dest for action in self._actions if not action.option_strings}
        found = _plain_words(message, positional)
        loose = re.match(r"unrecognized arguments: (?!-)", message, re.IGNORECASE)
        if loose:
            found += "; the values of a list are separated by commas (A,B)"
        self.exit(
            2, f"{self.prog}: error: {in_terminal(found)}. To fix: see `{self.prog} --help`\n"
        )

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help text with dashes in flags."""
        return dash_flags(str(super().format_help(*args, **kwargs)))

    def format_usage(self, *args: Any, **kwargs: Any) -> str:
        """The usage line with dashes in flags."""
        return dash_flags(str(super().format_usage(*args, **kwargs)))

    def _refuse_renamed(self, name: str) -> None:
        if name in self.renamed:
            found = dash_flags(f"--{name} is now --{self.renamed[name]}")
            self.exit(2, f"{self.prog}: error: {found}. To fix: see `{self.prog} --help`\n")


class Flag(NamedTuple):
    """A parameter of a verb as a flag.

    Attributes:
        name: Of the parameter.
        hint: What of its type can be written on a command line.
        default: `MISSING` where it must be given.
        help: What its docstring says.
    """

    name: str
    hint: Any
    default: Any
    help: str


def build_parser(
    name: str,
    function: Callable[..., Any],
    *,
    positional: str | None = None,
    groups: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> FlagParser:
    """The parser of one verb, from the signature of its function.

    Args:
        name: Of the verb.
        function: The verb.
        positional: The parameters given without a flag, in order, with spaces between them.
        groups: Prefix of the flags of some parameters: {"labels": "data"} gives `--data.labels`.
        ignored: Keys that a YAML file may hold for other verbs.
        renamed: Former names of flags and what they are called now.
    """
    summary = (inspect.getdoc(function) or name).splitlines()[0]
    parser = FlagParser(prog=f"slidenet {name}", description=summary, allow_abbrev=False)
    parser.renamed, groups = renamed or {}, groups or {}
    parser.add_argument("--config", action="config", help="YAML file holding any of the flags")
    taken: set[str] = set()
    sources: list[Callable[..., Any]] = [function, *settings_parameters(function).values()]
    for source in sources:
        title = "Of the verb" if source is function else inspect.getdoc(source) or ""
        group = parser.add_argument_group(title.splitlines()[0].rstrip("."))
        for flag in _flags(source):
            if flag.name in taken:
                continue
            taken.add(flag.name)
            key = f"{groups[flag.name]}.{flag.name}" if flag.name in groups else flag.name
            if flag.name in (positional or "").split():
                many = typing.get_origin(flag.hint) in _LISTS
                hint = typing.get_args(flag.hint)[0] if many else flag.hint
                number: dict[str, Any] = {"nargs": "+"} if many else {}
                if flag.default is not MISSING:
                    number = {"nargs": "?", "default": flag.default}
                group.add_argument(flag.name, type=hint, help=flag.help, **number)
            elif flag.default is MISSING:
                group.add_argument(f"--{key}", type=flag.hint, help=flag.help, required=True)
            else:
                group.add_argument(f"--{key}", type=flag.hint, help=flag.help, default=flag.default)
    for key in ignored:
        parser.add_argument(f"--{key}", type=Any, help=argparse.SUPPRESS)
    return parser


def parse_arguments(
    parser: FlagParser,
    function: Callable[..., Any],
    arguments: Sequence[str],
    *,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The keyword arguments for `function`, from flags and `--config`."""
    values = parser.parse_args(arguments).as_dict()
    for group in set((groups or {}).values()):
        values |= values[group]
    call = {flag.name: values[flag.name] for flag in _flags(function)}
    for parameter, settings in settings_parameters(function).items():
        call[parameter] = settings(**{f.name: values[f.name] for f in fields(settings)})
    return call


def settings_parameters(function: Callable[..., Any]) -> dict[str, type[Any]]:
    """The parameters of `function` that are settings: dataclasses all of whose fields are flags."""
    hints = typing.get_type_hints(function)
    return {
        name: member
        for name in inspect.signature(function).parameters
        for member in _members(hints[name])
        if isinstance(member, type)
        and is_dataclass(member)
        and all(_typed_part(hint) is not None for hint in typing.get_type_hints(member).values())
    }


def flag_names(function: Callable[..., Any]) -> set[str]:
    """The names of all flags of a verb, as Python has them."""
    sources: list[Callable[..., Any]] = [function, *settings_parameters(function).values()]
    return {flag.name for source in sources for flag in _flags(source)}


def _flags(source: Callable[..., Any]) -> Iterator[Flag]:
    """The flags of a function, or of a settings dataclass with the fields it inherits."""
    classes = source.__mro__ if isinstance(source, type) else (source,)
    help_texts: dict[str, str] = {}
    for part in reversed(classes):
        for item in docstring_parser.parse(inspect.getdoc(part) or "").params:
            help_texts[item.arg_name] = (item.description or "").replace("\n", " ")
    hints = typing.get_type_hints(source)
    for name, parameter in inspect.signature(source).parameters.items():
        hint = _typed_part(hints[name])
        if hint is None or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        yield Flag(name, hint, default, help_texts.get(name, ""))


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)


def _typed_part(hint: Any) -> Any:
    """What of a type can be written on a command line; None where nothing can.

    A path that may also be text, or several paths, is written as a path.
    """
    kept = [member for member in _members(hint) if _can_be_typed(member)]
    if Path in kept:
        kept = [member for member in kept if member in (Path, type(None))]
    if not set(kept) - {type(None)}:
        return None
    return Union[tuple(kept)]  # noqa: UP007 - of members found here


def _can_be_typed(member: Any) -> bool:
    origin = typing.get_origin(member)
    if origin in _LISTS or origin is dict:
        return all(_can_be_typed(item) or item in (Any, ...) for item in typing.get_args(member))
    return origin is Literal or member in (str, int, float, bool, Path, type(None))


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


def with_lists(
    arguments: Sequence[str], flags: Mapping[str, Any], *, spaced: bool = False
) -> list[str]:
    """The arguments with the values of flags that hold lists as JSON.

    Args:
        arguments: With flags as the parser knows them.
        flags: The parser's action of each flag.
        spaced: Whether all that follows such a flag, up to the next flag, is its list, since no
            argument comes without a flag.
    """
    result: list[str] = []
    values = list(arguments)
    while values:
        argument = values.pop(0)
        flag, equals, value = argument.partition("=")
        if argument.startswith("--") and equals and (items := _item_type(flags.get(flag))):
            result.append(f"{flag}={_json_list(value, items)}")
            continue
        result.append(argument)
        items = _item_type(flags.get(argument))
        if items is None or not values or values[0].startswith("--"):
            continue
        given = [values.pop(0)]
        while spaced and values and not values[0].startswith("--"):
            given.append(values.pop(0))
        several = [v[1:-1] if v[:1] == "[" and v[-1:] == "]" else v for v in given]
        text = f"[{','.join(several)}]" if len(given) > 1 else given[0]
        result.append(_json_list(text, items))
    return result


def _item_type(action: Any) -> type[Any] | None:
    """Of what a flag holds a list: `str` or anything else; None for a flag that may be no list."""
    hint = getattr(action, "_typehint", None)
    kinds = _members(hint)
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


def _plain_words(message: str, positional: Collection[str] = ()) -> str:
    """A message of jsonargparse on one line, in the words of the command line.

    Args:
        message: As jsonargparse says it.
        positional: Names of arguments that are given without a flag.
    """
    if message.startswith("Unexpected config"):  # goes on with the whole file
        return "the file given as --config is not YAML of the form `flag: value`"
    flag = re.match(r'Parser key "([\w.]+)":', message)
    value = re.search(r"(?:Got value|Given value): (.*)", message)
    kinds = dict.fromkeys(re.findall(r"Expected an? (.+?)(?:\.(?: |$)|$)", message, re.MULTILINE))
    if not (flag and value and kinds):
        text = re.sub(r'Parser key "([\w.]+)"', r"--\1", " ".join(message.split()))
        missing = re.fullmatch(r"(the following arguments are required: )(.*)", text)
        if missing:
            names = (name.strip() for name in missing[2].split(","))
            text = missing[1] + ", ".join(n if n in positional else f"--{n}" for n in names)
        return dash_flags(text).rstrip(".")
    expected = " or ".join(_KIND_WORDS.get(kind, kind) for kind in kinds)
    expected = re.sub(r"typing\.Literal\[(.*?)\]", lambda m: m[1].replace("'", ""), expected)
    return dash_flags(f"--{flag[1]} is {value[1]!r}; expected {expected}")


_KIND_WORDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text (in YAML in quotes)",
    "<class 'NoneType'>": "null",
    "<class 'dict'>": "a mapping such as '{name: 1}'",
    "<class 'list'>": "a list",
    "<class 'collections.abc.Sequence'>": "a list",
}


def dash_flags(text: str) -> str:
    """Names of flags in a text as they are typed: `--num-readers`, not `--num_readers`."""
    return re.sub(r"--[a-z][a-z0-9_.]*", lambda match: match.group().replace("_", "-"), text)
