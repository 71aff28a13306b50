"""Names that others chose reach each reader as text, whatever writes them."""

import csv
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

import slidenet
from slidenet.core.errors import ConfigError, LabelError
from slidenet.core.escapes import (
    from_spreadsheet,
    in_html,
    in_markdown,
    in_qupath,
    in_spreadsheet,
    in_terminal,
    shorten,
)
from slidenet.core.text import name_some, text_table
from slidenet.stores.csv_table import csv_lines
from slidenet.stores.csv_writing import csv_text, joined_csv
from slidenet.visualisation.curves import Line, roc_figure
from slidenet.visualisation.matrices import confusion_figure
from slidenet.visualisation.style import blank_figure, save_figure

ROOT = Path(slidenet.__file__).parent
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in ROOT.rglob("*.py")
    if "testing" not in path.parts
}
NASTY = (
    "$x_1$", "a$b", r"\frac{", "a|b", "<script>", "a & b", "*x*", "_y_", "# z", "=1+1", "-x", "+x",
    "@x", "'=x", "''+x", "\x1b[31mred", "a\u202eb", "a\nb", "a\rb", "a\tb", "\x07", "a\u2028b",
    "é µ 病", "x" * 5000,
)  # fmt: skip


@settings(max_examples=60)
@given(st.text())
def test_cells_come_back_from_spreadsheets(text):
    cell = in_spreadsheet(text)
    assert from_spreadsheet(cell) == text
    if cell and cell[0] in "=+-@\t\r":
        float(cell)  # a number is no formula


@settings(max_examples=60)
@given(st.text())
def test_a_terminal_gets_one_line_of_signs(text):
    shown = in_terminal(text)
    assert all(sign.isprintable() or sign.isspace() for sign in shown)
    assert len(shown.splitlines()) <= 1
    assert in_terminal(shown) == shown
    assert "\n" not in str(LabelError(text, expected=text, remedy=text, slide=text))


@settings(max_examples=60)
@given(st.text())
def test_html_shows_the_text_itself(text):
    shown = in_html(text)
    assert not set(shown) & set("<>\"'\n")
    assert html.unescape(shown) == in_terminal(text)


def test_signs_of_markdown_are_letters():
    assert in_markdown("a|b <i> *x* $5$\n# z") == r"a\|b \<i\> \*x\* \$5\$ \# z"
    assert in_markdown("- x") == r"\- x"
    assert in_markdown("1. x") == r"1\. x"
    assert in_markdown("-0.5, 1.5") == "-0.5, 1.5"


@settings(max_examples=60)
@given(st.text())
def test_qupath_takes_a_class_for_one_class(text):
    shown = in_qupath(text)
    assert shown == shown.strip()
    assert ":" not in shown
    assert len(shown.splitlines()) <= 1
    assert not shown.endswith("*")


def test_usual_text_is_left_alone():
    for text in ("MSI-high", "grade 2", "é µ 病", "0.5", "-0.5", "1e-05", "-inf", ""):
        assert in_spreadsheet(text) == in_terminal(text) == in_html(text) == text
        assert in_qupath(text) == text


def test_long_names_are_cut():
    assert shorten("abcdef", 4) == "abc…"
    assert len(name_some(["x" * 1000, "y" * 1000])) < 210


def test_tables_for_eyes_have_a_line_per_row():
    lines = text_table(["name"], [[name] for name in NASTY if len(name) < 99]).splitlines()
    assert len(lines) == 2 + sum(len(name) < 99 for name in NASTY)


def test_tables_of_files_give_back_every_name(tmp_path):
    text = csv_text(["name", *NASTY], [[name, *range(len(NASTY))] for name in NASTY])
    for row in csv.reader(io.StringIO(text, newline="")):
        assert row[0][:1] not in "=+-@" or not row[0]
    path = tmp_path / "a.csv"
    path.write_text(joined_csv([text, text]), encoding="utf-8", newline="")
    (_, header), *rows = csv_lines(path, error=ConfigError)
    assert header == ["name", *NASTY]
    assert [cells[0] for _, cells in rows] == [*NASTY, *NASTY]


@pytest.mark.slow
@pytest.mark.filterwarnings("error:Glyph")
def test_figures_show_names_as_they_are(tmp_path):
    names = list(NASTY)
    lines = [Line([0, 1], [0, 1], f"{name}: AUROC 0.5") for name in names]
    figures = [roc_figure(lines, name) for name in ("$x_1$", "x" * 5000)]
    figures.append(confusion_figure(np.eye(len(names), dtype=int), names, NASTY[0]))
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png", dpi=30)
        texts = figure.findobj(Text)
        assert all(len(line) <= 200 for text in texts for line in text.get_text().split("\n"))
        shown = [text for text in texts if "$x_1$" in text.get_text()]
        assert shown
        assert not any(text.get_parse_math() for text in shown)


@pytest.mark.slow
def test_numbers_along_a_logarithmic_axis_are_still_formulas(tmp_path):
    figure = blank_figure(3, 3)
    axes = figure.subplots()
    axes.loglog([1, 1000], [1, 1000])
    save_figure(figure, tmp_path / "a.png", dpi=30)
    assert all(label.get_parse_math() for label in axes.xaxis.get_ticklabels())


@pytest.mark.parametrize(
    ("sign", "home", "instead"),
    [
        (
            r"csv\.(Dict)?[wW]riter",
            ("stores/csv_writing.py",),
            "slidenet.stores.csv_writing.csv_text",
        ),
        (r"import html$|from html import", ("core/escapes.py",), "slidenet.core.escapes.in_html"),
        (r"\.savefig\(", ("visualisation/style.py",), "save_figure"),
        (r"\bprint\((?!in_terminal|overview|f\"slidenet|\n)", (), "print(in_terminal(...))"),
        (
            r"(=|return) torch\.load\(|pickle\.load",
            # The second reads what its parent has put into a folder nobody else may enter, the
            # others what the command has put into its cluster, where it may run any code.
            (
                "weights/files.py",
                "pipelines/fleet/worker.py",
                "pipelines/cluster/actor.py",
                "pipelines/cluster/encoding.py",
            ),
            "slidenet.weights.read_tensor_file",
        ),
    ],
)
def test_every_writer_goes_by_the_one_function(sign, home, instead):
    """A new writer of files, figures or lines cannot forget what names may hold."""
    found = {
        path: match[0]
        for path, text in SOURCES.items()
        if path not in home and (match := re.search(sign, text, flags=re.MULTILINE))
    }
    assert not found, f"use {instead}"
