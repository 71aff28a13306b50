import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from slidenet.cli.flags import build_parser, parse_arguments
from slidenet.cli.result import report
from slidenet.core.errors import (
    ConfigError,
    DiskError,
    OutputError,
    UnreadableSlideError,
    WorkerError,
)


@dataclass(frozen=True)
class PaintSettings:
    """How to paint.

    Args:
        num_coats: How many coats.
        dry_run: Only say what would be done.
        glossy: Shine.
        template: A picture to follow.
        width: Of the brush.
        finish: Of the surface.
    """

    num_coats: int = 2
    dry_run: bool = False
    glossy: bool = True
    template: Path | None = None
    width: float | None = None
    finish: Literal["matt", "silk"] | None = None


@dataclass(frozen=True)
class Painter:
    """No settings: a helper cannot be written on a command line."""

    helper: threading.Thread | None = None


def paint(
    wall: str | Path | Sequence[Path],
    settings: PaintSettings | None = None,
    *,
    overwrite: bool = False,
    painter: Painter | None = None,
    **keywords: int,
) -> None:
    """Paints a wall.

    Args:
        wall: The wall.
        settings: How.
        overwrite: Paint over what is there.
        painter: Who.
        **keywords: Fields of the settings.
    """


def parse(*arguments):
    return parse_arguments(
        build_parser("paint", paint, renamed={"coats": "num_coats"}), paint, list(arguments)
    )


def test_defaults_are_those_of_the_signature():
    assert parse("--wall", "north") == {
        "wall": Path("north"),
        "settings": PaintSettings(),
        "overwrite": False,
    }


def test_flags_are_spelled_with_dashes_and_booleans_need_no_value():
    call = parse("--wall=north", "--num-coats", "3", "--dry-run", "--no-glossy", "--overwrite")
    assert call["settings"] == PaintSettings(num_coats=3, dry_run=True, glossy=False)
    assert call["overwrite"] is True


def test_booleans_accept_a_value():
    assert parse("--wall", "n", "--glossy", "false")["settings"].glossy is False


def pick(
    names: list[str] | None = None,
    columns: Sequence[str] = ("label",),
    either: list[str] | str = "",
    numbers: list[float] | None = None,
    devices: list[int] | int = 1,
) -> None:
    """Picks.

    Args:
        names: Text.
        columns: Text too.
        either: Text too.
        numbers: Numbers.
        devices: No list, as it may be a number.
    """


def picked(*arguments):
    return parse_arguments(build_parser("pick", pick), pick, list(arguments))


@pytest.mark.parametrize(
    ("typed", "items"),
    [
        ("label", ["label"]),
        ("time,event", ["time", "event"]),
        ("[0, 1]", ["0", "1"]),
        ("[no,yes]", ["no", "yes"]),
        ("NA,1.0", ["NA", "1.0"]),
        ('["no, never","yes"]', ["no, never", "yes"]),
        ("IDH: mutated,wild-type", ["IDH: mutated", "wild-type"]),
    ],
)
@pytest.mark.parametrize("flag", ["names", "columns", "either"])
def test_lists_of_text_are_taken_as_typed(flag, typed, items):
    assert picked(f"--{flag}", typed)[flag] == items
    assert picked(f"--{flag}={typed}")[flag] == items


def test_lists_go_on_up_to_the_next_flag_where_every_argument_has_one():
    def wash(names: list[str], counts: list[int] | None = None) -> None:
        """Washes.

        Args:
            names: What.
            counts: How often.
        """

    def parsed(*arguments):
        parser = build_parser("wash", wash)
        return parse_arguments(parser, wash, list(arguments))

    found = parsed("--names", "no", "[cup, null]", "big plate", "--counts", "1", "2,3")
    assert found["names"] == ["no", "cup", "null", "big plate"]
    assert found["counts"] == [1, 2, 3]
    assert parsed("--names=a,b", "--counts", "4")["counts"] == [4]


def test_other_lists_need_no_brackets_and_what_is_no_list_stays_so(capsys):
    found = picked("--numbers", "1,2.5", "--devices", "2", "--names", "null")
    assert (found["numbers"], found["devices"], found["names"]) == ([1.0, 2.5], 2, None)
    with pytest.raises(SystemExit):
        picked("--names", "[a")
    assert "--names is '[a'; expected a list or null" in capsys.readouterr().err


def test_yaml_holds_any_flag_and_the_command_line_wins(tmp_path):
    config = tmp_path / "paint.yaml"
    config.write_text("wall: south\nnum_coats: 5\ntemplate: a.png\n")
    call = parse("--config", str(config), "--num-coats", "4")
    assert call["wall"] == Path("south")
    assert call["settings"] == PaintSettings(num_coats=4, template=Path("a.png"))


def test_a_misspelt_yaml_key_is_refused(tmp_path, capsys):
    config = tmp_path / "paint.yaml"
    config.write_text("wall: south\nnum_cats: 5\n")
    with pytest.raises(SystemExit):
        parse("--config", str(config))
    assert "num_cats" in capsys.readouterr().err


def test_wrong_type_is_refused_naming_the_flag(capsys):
    with pytest.raises(SystemExit):
        parse("--wall", "n", "--num-coats", "many")
    assert "num-coats" in capsys.readouterr().err.replace("_", "-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wall", "n", "--num-coats", "many"], "--num-coats is 'many'; expected a whole number"),
        (["--wall", "n", "--width", "wide"], "--width is 'wide'; expected a number or null"),
        (["--wall", "n", "--finish", "oily"], "--finish is 'oily'; expected matt, silk or null"),
        (["--wall", "n", "--num-cats", "3"], "unrecognized arguments: --num-cats 3"),
        (["--wall", "n", "--num", "3"], "unrecognized arguments: --num 3"),
        (
            ["--wall", "n", "loose"],
            "arguments: loose; the values of a list are separated by commas (A,B).",
        ),
        ([], "required: --wall"),
        (["--config", "gone.yaml"], "--config: File does not exist"),
    ],
)
def test_every_refusal_is_one_line_in_the_words_of_the_command_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("slidenet paint: error: ")
    assert message in printed
    assert printed.endswith(". To fix: see `slidenet paint --help`\n")
    assert printed.count("\n") == 1


def test_former_names_are_refused_naming_the_new_one(tmp_path, capsys):
    config = tmp_path / "paint.yaml"
    config.write_text("wall: south\ncoats: 5\n")
    for arguments in (["--coats", "3"], ["--coats=3", "--wall=n"], ["--config", str(config)]):
        with pytest.raises(SystemExit):
            parse(*arguments)
        assert "error: --coats is now --num-coats. To fix" in capsys.readouterr().err


def test_a_config_that_is_no_yaml_is_not_quoted_in_full(tmp_path, capsys):
    config = tmp_path / "slides.csv"
    config.write_text("slide_id,slide_path\nA,A.svs\n")
    with pytest.raises(SystemExit):
        parse("--config", str(config))
    assert "the file given as --config is not YAML" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 2),
        (OutputError, 2),
        (UnreadableSlideError, 1),
        (DiskError, 1),
        (WorkerError, 1),
    ],
)
def test_only_what_was_typed_is_wrong_usage(error, code, capsys):
    def work():
        raise error("it is so", remedy="do this")

    assert report("paint", work) == code
    assert capsys.readouterr().err == "slidenet paint: error: it is so. To fix: do this\n"


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_machine_that_is_short_of_memory_is_one_line_and_no_traceback(capsys, fault):
    def work():
        raise fault

    assert report("verb", work) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not enough memory" in said


def test_what_is_no_fault_of_the_system_is_raised():
    def work():
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        report("verb", work)
