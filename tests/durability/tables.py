"""A table of what trials came to, on the screen: `pytest -rP` shows it of tests that passed."""

import sys
from collections.abc import Mapping, Sequence


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows that have the same columns."""
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    sys.stdout.write("\n".join(["", title, *lines, ""]))
