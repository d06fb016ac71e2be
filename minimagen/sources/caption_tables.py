"""Files that say which picture has which caption: CSV, TSV, JSON, JSONL, Parquet.

Knows no picture: names are not looked up. What a file says is taken literally ("NA" is a caption); what it says
unclearly (a torn quote, a line with too many fields, bytes that are no UTF-8) is an error that names the line.
"""

import csv
import difflib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from minimagen.config import ConfigError
from minimagen.rows import Rejection

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """What one row of a caption table says."""

    picture: str
    """Name of the picture as it stands in the table."""
    captions: tuple[str, ...] | Rejection


@dataclass(frozen=True, slots=True)
class _Record:
    where: str
    """"line 3" or "row 3", for messages."""
    values: Mapping[str, Any]


def read_caption_table(path: Path, *, path_column: str, caption_column: str) -> list[CaptionEntry]:
    """Reads a table by its suffix; a table without a row is an error.

    A caption may be a list of captions. A missing one (absent, null, an empty list) is a rejection no_caption, a number
    or an object caption_not_text.

    Raises:
        ConfigError: the file is missing, has an unknown suffix, lacks a column (found and expected ones are named), or
            is not written as its suffix says (the line is named).
    """
    try:
        records = list(_read_records(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8 (byte {error.object[error.start]:#04x})") from error
    if not records:
        raise ConfigError(f"{path}: holds no row")
    columns = list(dict.fromkeys(column for record in records for column in record.values))
    for key, column in (("path_column", path_column), ("caption_column", caption_column)):
        if column not in columns:
            raise ConfigError(f"{path}: {_missing_column(key, column, columns)}")
    return [_entry_of(path, record, path_column, caption_column) for record in records]


def _missing_column(key: str, column: str, columns: list[str]) -> str:
    nearest = difflib.get_close_matches(column, columns, n=1, cutoff=0.0)
    hint = f"; nearest: {nearest[0]!r}" if nearest else ""
    return f"no column {column!r} (ingest.folder.{key} in params.yaml); found: {', '.join(map(repr, columns))}{hint}"


def _entry_of(path: Path, record: _Record, path_column: str, caption_column: str) -> CaptionEntry:
    picture = record.values.get(path_column)
    if not isinstance(picture, str) or not picture.strip():
        raise ConfigError(f"{path}: {record.where}: {path_column} is {picture!r}, expected the name of a picture")
    return CaptionEntry(picture, _captions_of(record.values.get(caption_column)))


def _captions_of(value: object) -> tuple[str, ...] | Rejection:
    if value is None or value == []:
        return Rejection("no_caption", "the caption is missing")
    captions: list[str] = []
    for caption in value if isinstance(value, list) else [value]:
        if not isinstance(caption, str):
            return Rejection("caption_not_text", f"{type(caption).__name__} {str(caption)[:40]!r}")
        captions.append(caption)
    return tuple(captions)


def _read_records(path: Path) -> Iterator[_Record]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix == ".tsv":
        return _read_tsv(path)
    if suffix == ".json":
        return _read_json(path)
    if suffix == ".jsonl":
        return _read_jsonl(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    raise ConfigError(f"{path}: captions are read from {', '.join(SUFFIXES)}, not from {path.suffix or 'no suffix'}")


def _read_csv(path: Path) -> Iterator[_Record]:
    """Reads RFC 4180: a field may hold commas, quotes and line breaks between quotes. Strict: no quote is guessed."""
    reader = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a caption that is too long is rejected later, on its own
    try:
        lines = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num}: not CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)
    return _records_of(path, lines)


def _read_tsv(path: Path) -> Iterator[_Record]:
    """Reads one row per line, fields between tabs; a quote is a character like any other."""
    lines = [line.removesuffix("\r") for line in _text_of(path).split("\n")]
    return _records_of(path, [(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line])


def _records_of(path: Path, lines: list[tuple[int, list[str]]]) -> Iterator[_Record]:
    if not lines:
        return
    header = [name.strip() for name in lines[0][1]]
    for name in header:
        if header.count(name) > 1:
            raise ConfigError(f"{path}: the column {name!r} stands twice in the first line")
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            raise ConfigError(
                f"{path}: line {number}: {len(fields)} fields, expected {len(header)} as in the first line"
            )
        yield _Record(f"line {number}", dict(zip(header, fields, strict=True)))


def _read_json(path: Path) -> Iterator[_Record]:
    document = _parse_json(path, _text_of(path), "")
    if not isinstance(document, list):
        raise ConfigError(f"{path}: expected a list of objects, found {type(document).__name__}")
    return _objects_of(path, ((f"entry {number}", entry) for number, entry in enumerate(document, start=1)))


def _read_jsonl(path: Path) -> Iterator[_Record]:
    lines = enumerate(_text_of(path).split("\n"), start=1)
    wheres = ((f"line {number}", line) for number, line in lines if line.strip())
    return _objects_of(path, ((where, _parse_json(path, line, f" {where}:")) for where, line in wheres))


def _objects_of(path: Path, entries: Iterable[tuple[str, object]]) -> Iterator[_Record]:
    for where, entry in entries:
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: {where}: expected an object, found {type(entry).__name__}")
        yield _Record(where, entry)


def _parse_json(path: Path, text: str, where: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        line = "" if where else f" line {error.lineno}:"
        raise ConfigError(f"{path}:{where}{line} not JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}:{where} not JSON that can be read: {error}") from error


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return record


def _read_parquet(path: Path) -> Iterator[_Record]:
    try:
        records = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}: not Parquet: {error}") from error
    return (_Record(f"row {number}", record) for number, record in enumerate(records, start=1))


def _text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")
