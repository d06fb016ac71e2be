"""Tables read record by record, whatever they are written in: CSV, TSV, JSON, JSONL, Parquet.

Knows no column by its meaning. What a file says is taken literally ("NA" is a text). A record that cannot be read is
yielded as a ``BadRecord``; a file whose records cannot even be told apart (a torn quote in CSV) is an error. Only JSON,
one document, is read whole.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from minimagen.config import ConfigError
from minimagen.rows import Rejection
from minimagen.sources.text_lines import (
    BadLine,
    Fields,
    csv_lines,
    describe_encoding,
    has_mark,
    text_lines,
    tsv_lines,
)

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class TableRecord:
    """One record."""

    where: str
    """"line 3", "row 3" or "entry 3", for messages."""
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read."""

    where: str
    rejection: Rejection
    """bad_line, or bad_encoding for bytes that are no UTF-8."""


Records = Iterator[TableRecord | BadRecord]


@dataclass(frozen=True, slots=True)
class RecordTable:
    """A table as it is read."""

    columns: tuple[str, ...]
    """Known before the first record; empty for JSON, where every record has its own, and for an empty file."""
    records: Records


def open_table(path: Path, wanted: Collection[str] | None = None) -> RecordTable:
    """Opens a table by its suffix.

    Args:
        wanted: columns to be read where others can be left out (Parquet); None is all.

    Raises:
        ConfigError: the file is missing, has an unknown suffix, or cannot be told apart into records; also while
            records are read. The line is named.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path, wanted)
    if suffix == ".json":
        return RecordTable((), records_of_entries(path, read_json_document(path)))
    if suffix == ".jsonl":
        return RecordTable((), _read_jsonl(path))
    if suffix == ".csv":
        return _open_lines(path, csv_lines(path))
    if suffix == ".tsv":
        return _open_lines(path, tsv_lines(path))
    raise ConfigError(f"{path}: a table is read from {', '.join(SUFFIXES)}, not from {path.suffix or 'no suffix'}")


def read_json_document(path: Path) -> object:
    """Reads a whole JSON file; an object that has a key twice is refused.

    Raises:
        ConfigError: it is not JSON in UTF-8; the line is named.
    """
    has_mark(path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: {describe_encoding(error)}") from error
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}: {_describe_json(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {_describe_json(error)}") from error


def records_of_entries(path: Path, document: object) -> Records:
    """Yields the objects of a JSON list.

    Raises:
        ConfigError: the document is not a list.
    """
    if not isinstance(document, list):
        raise ConfigError(f"{path}: expected a list of objects, found {type(document).__name__}")
    return (_record_of(f"entry {number}", entry) for number, entry in enumerate(document, start=1))


def _open_lines(path: Path, lines: Iterator[Fields | BadLine]) -> RecordTable:
    first = next(lines, None)
    if first is None:
        return RecordTable((), iter(()))
    if isinstance(first, BadLine):
        raise ConfigError(f"{path}: line {first.number}: {first.rejection.detail}")
    header = tuple(name.strip() for name in first.values)
    _check_names(path, header)
    return RecordTable(header, (_record_of_fields(header, line) for line in lines))


def _check_names(path: Path, columns: tuple[str, ...]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise ConfigError(f"{path}: the column {name!r} stands twice in the table's head")


def _record_of_fields(header: tuple[str, ...], line: Fields | BadLine) -> TableRecord | BadRecord:
    where = f"line {line.number}"
    if isinstance(line, BadLine):
        return BadRecord(where, line.rejection)
    if len(line.values) != len(header):
        detail = f"{len(line.values)} fields, expected {len(header)} as in the first line"
        return BadRecord(where, Rejection("bad_line", detail))
    return TableRecord(where, dict(zip(header, line.values, strict=True)))


def _read_jsonl(path: Path) -> Records:
    for line in text_lines(path):
        where = f"line {line.number}"
        if isinstance(line, BadLine):
            yield BadRecord(where, line.rejection)
        elif line.text and not line.text.isspace():
            try:
                yield _record_of(where, json.loads(line.text, object_pairs_hook=_without_twins))
            except (ValueError, RecursionError) as error:
                yield BadRecord(where, Rejection("bad_line", _describe_json(error)))


def _record_of(where: str, entry: object) -> TableRecord | BadRecord:
    if isinstance(entry, dict):
        return TableRecord(where, entry)
    return BadRecord(where, Rejection("bad_line", f"expected an object, found {type(entry).__name__}"))


def _describe_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} (column {error.colno})"
    return f"not JSON that can be read: {error}"


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return record


def _open_parquet(path: Path, wanted: Collection[str] | None) -> RecordTable:
    try:
        columns = tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not Parquet: {error}") from error
    _check_names(path, columns)
    chosen = [column for column in columns if wanted is None or column in wanted]
    return RecordTable(columns, _read_parquet(path, chosen))


def _read_parquet(path: Path, columns: list[str]) -> Records:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for values in _rows_of(batch):
                    number += 1
                    if isinstance(values, Rejection):
                        yield BadRecord(f"row {number}", values)
                    else:
                        yield TableRecord(f"row {number}", values)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not Parquet: {error}") from error


def _rows_of(batch: pa.RecordBatch) -> Iterable[dict[str, Any] | Rejection]:
    """Returns the rows of a batch; Parquet promises UTF-8, and nobody has checked it."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_row_or_rejection(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _row_or_rejection(row: pa.RecordBatch) -> dict[str, Any] | Rejection:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Rejection("bad_encoding", describe_encoding(error))
