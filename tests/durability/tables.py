"""Rows by name as a table to tell."""

from collections.abc import Mapping, Sequence


def table_of(rows: Sequence[Mapping[str, object]]) -> list[list[object]]:
    """Returns the head and the rows, which all have the same columns."""
    return [list(rows[0]), *(list(row.values()) for row in rows)]
