"""The shapes in which one JSON document holds a table, or several of them under names.

    [{"url": ..., "caption": ...}, ...]                       objects
    {"url": [...], "caption": [...]}                          columns
    {"url": {"0": ...}, "caption": {"0": ...}}                columns as pandas writes them by default
    {"train": <objects or columns>, "validation": ...}        parts

Knows no column by its meaning.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from minimagen.config import ConfigError
from minimagen.sources.table_records import Records, RecordTable, TableRecord, records_of_entries

WHOLE = ""
"""Name of the only part of a document that has no parts."""


def part_names(document: object) -> tuple[str, ...]:
    """Returns the names of a document's parts in their order, ("",) if it is one table."""
    if isinstance(document, dict) and any(map(_is_table, document.values())):
        return tuple(document)
    return (WHOLE,)


def open_part(path: Path, document: object, name: str) -> RecordTable:
    """Returns the table of one part.

    Raises:
        ConfigError: it has none of the shapes, or its columns are not equally long.
    """
    value = document[name] if isinstance(document, dict) and name != WHOLE else document
    where = f"{path}: {name}" if name != WHOLE else str(path)
    if isinstance(value, list):
        return RecordTable((), records_of_entries(path, value))
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a list of objects or an object of columns, found {type(value).__name__}")
    columns = {key: column for key, column in value.items() if isinstance(column, list | dict)}
    if value and not columns:
        raise ConfigError(f"{where}: expected columns, that is lists; found {_described(value)}")
    return RecordTable(tuple(columns), _records_of_columns(where, columns))


def _is_table(value: object) -> bool:
    """Tells a part from a column: objects, or an object whose own values are columns."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict)
    return isinstance(value, dict) and any(isinstance(column, list | dict) for column in value.values())


def _records_of_columns(where: str, columns: Mapping[str, list[object] | dict[str, object]]) -> Records:
    indices = {name: list(column) for name, column in columns.items() if isinstance(column, dict)}
    for name, column in columns.items():
        first = next(iter(columns))
        if len(column) != len(columns[first]) or indices.get(name) != indices.get(first):
            raise ConfigError(
                f"{where}: {first!r} has {len(columns[first])} entries and {name!r} {len(column)}, or of other keys: "
                "which belong together cannot be told"
            )
    cells = [column if isinstance(column, list) else list(column.values()) for column in columns.values()]
    return _zipped(tuple(columns), cells)


def _zipped(names: tuple[str, ...], cells: list[list[object]]) -> Iterator[TableRecord]:
    for number, values in enumerate(zip(*cells, strict=True), start=1):
        yield TableRecord(f"entry {number}", dict(zip(names, values, strict=True)))


def _described(value: Mapping[str, object]) -> str:
    return ", ".join(f"{name!r}: {type(entry).__name__}" for name, entry in list(value.items())[:5])
