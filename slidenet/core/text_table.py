"""Tables of text, as verbs print them."""

from collections.abc import Sequence


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    rule: bool = True,
    ragged: bool = False,
) -> str:
    """Columns as wide as their widest cell, two spaces apart, without spaces at the end of lines.

    Args:
        header: Names of the columns.
        rows: Cells, as many per row as there are columns.
        right: Columns aligned to the right (numbers).
        rule: Whether a line of dashes stands under the header.
        ragged: The last column holds sentences: the line of dashes ends where its name does.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    dashes = ["-" * width for width in widths]
    if ragged:
        dashes[-1] = "-" * len(header[-1])
    lines = [header, *([dashes] if rule else []), *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
