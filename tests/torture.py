"""How hard the tests try: MINIMAGEN_TORTURE is 0 (a seeded slice, the default), 1 (every case), or more for longer.

What a test does often, such as killing, it does so many times more often; what came of it is told as a table, at the
end of the run (fixture ``tell_table``).
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence

import pytest

TORTURE = int(os.environ.get("MINIMAGEN_TORTURE", "0"))
TABLE = "torture table"
"""The property of a test's report that holds a table; pytest-xdist hands it from its workers to the one that prints."""

TellTable = Callable[[str, Sequence[Sequence[object]]], None]
"""Tells a table: its title, then its rows, the first of which is the head."""

whole_only = pytest.mark.skipif(TORTURE == 0, reason="too long for make test; make torture-ci runs it")
"""Marks what has no slice."""


def num_times(quick: int, whole: int) -> int:
    """Returns how often to do what is done ``whole`` times in a whole run, and ``quick`` times in a slice of it."""
    return quick if TORTURE == 0 else whole * TORTURE


def rendered(told: Iterable[str]) -> str:
    """Returns tables as text; those of one title and head are one, its rows in order."""
    tables: dict[tuple[str, tuple[str, ...]], list[tuple[str, ...]]] = {}
    for text in told:
        title, head, *rows = json.loads(text)
        tables.setdefault((title, tuple(head)), []).extend(tuple(row) for row in rows)
    return "\n".join(_table(title, [head, *sorted(rows)]) for (title, head), rows in sorted(tables.items()))


def as_property(title: str, rows: Sequence[Sequence[object]]) -> str:
    """Returns a table as the text that a report carries."""
    return json.dumps([title, *([str(cell) for cell in row] for row in rows)])


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", title, *(f"  {line}" for line in lines)])
