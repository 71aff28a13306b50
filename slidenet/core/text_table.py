"""Tables of text, as verbs print them."""

from collections.abc import Sequence


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    rule: bool = True,
) -> str:
    """Columns as wide as their widest cell, two spaces apart, without spaces at the end of lines.

    Args:
        header: Names of the columns.
        rows: Cells, as many per row as there are columns.
        right: Columns aligned to the right (numbers).
        rule: Whether a line of dashes stands under the header.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    lines = [header, *(["-" * width for width in widths],) * rule, *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
