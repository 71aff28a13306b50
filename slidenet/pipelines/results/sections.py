"""`results.md`: what a run has to report, in the words that are printed at its end.

Whoever has something to report adds a `Section` in `train` or `crossval`; both print the sections
after the metrics and write them into the folder of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.escapes import in_markdown, in_terminal
from slidenet.core.text import text_table
from slidenet.stores import atomic_path

RESULTS_NAME = "results.md"


@dataclass(frozen=True)
class Section:
    """One thing a run reports.

    Attributes:
        title: A few words.
        lines: Sentences, one line each.
        header: Of the table; empty for a section without.
        rows: Cells, as many per row as the header has; all but the first column are numbers.
        num_printed: So many of the first lines were printed before the run began.
    """

    title: str
    lines: tuple[str, ...]
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    num_printed: int = 0

    def text(self) -> str:
        """As printed: the title, the sentences, the table; empty where all of it was before."""
        lines = self.lines[self.num_printed :]
        if self.num_printed and not lines and not self.header:
            return ""
        parts = [in_terminal(line) for line in (self.title, *lines)]
        if self.header:
            right = range(1, len(self.header))
            rows = [[in_terminal(cell) for cell in row] for row in self.rows]
            header = [in_terminal(cell) for cell in self.header]
            parts.append(text_table(header, rows, right=right, rule=False))
        return "\n".join(parts)

    def markdown(self) -> str:
        """As a part of `results.md`."""
        parts = [f"## {in_markdown(self.title)}"]
        parts += [in_markdown(line) for line in self.lines]
        if self.header:
            ruler = ["---", *["---:"] * (len(self.header) - 1)]
            cells = [[in_markdown(cell) for cell in row] for row in (self.header, *self.rows)]
            table = [cells[0], ruler, *cells[1:]]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in table))
        return "\n\n".join(parts)


def metrics_section(title: str, by_column: Mapping[str, Mapping[str, float]]) -> Section:
    """Metrics as a table, one column per split or fold.

    Args:
        title: Of the section.
        by_column: Name of the column to its metrics; not defined where one lacks a metric.
    """
    names = dict.fromkeys(name for values in by_column.values() for name in values)
    rows = tuple(
        (name, *(f"{values.get(name, float('nan')):.3f}" for values in by_column.values()))
        for name in names
    )
    return Section(title, (), ("metric", *by_column), rows)


def write_results(folder: Path, verb: str, headline: str, sections: Sequence[Section]) -> Path:
    """Writes `results.md`, whole or not at all; `results_{verb}.md` beside that of another verb.

    Args:
        folder: Of the run.
        verb: Whose results they are: one folder may hold a training and a cross-validation.
        headline: What was done, one line or several.
        sections: In order.

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    title = f"# Results of {verb}"
    parts = [title, *(in_markdown(line) for line in headline.splitlines())]
    parts += [section.markdown() for section in sections]
    path = folder / RESULTS_NAME
    if path.is_file():
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if first.startswith("# Results of ") and first != title:
            path = folder / f"results_{verb}.md"
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path
