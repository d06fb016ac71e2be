"""Files that say which picture has which caption: CSV, TSV, JSON, JSONL, Parquet.

Knows no picture: names are not looked up. What a file says unclearly (a torn quote, a line with too many fields, bytes
that are no UTF-8) is an error that names the line: a user's own small table is corrected, not read around.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import ConfigError
from minimagen.rows import Rejection
from minimagen.sources.table_records import BadRecord, TableRecord, open_table

MAX_NAMED = 20
"""Columns named in a message, at most."""
MIN_LIKENESS = 0.6
"""From which on a column may be the one that was meant, difflib's measure: "captoin" and "caption" have 0.86."""


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """What one row of a caption table says."""

    picture: str
    """Name of the picture as it stands in the table."""
    captions: tuple[str, ...] | Rejection


def read_caption_table(path: Path, *, path_column: str, caption_column: str) -> list[CaptionEntry]:
    """Reads a table by its suffix; a table without a row is an error.

    A caption may be a list of captions. A missing one (absent, null, an empty list) is a rejection no_caption, a number
    or an object caption_not_text.

    Raises:
        ConfigError: the file is missing, has an unknown suffix, lacks a column (found and expected ones are named), or
            is not written as its suffix says (the line is named).
    """
    table = open_table(path)
    records = [_readable(path, record) for record in table.records]
    if not records:
        raise ConfigError(f"{path}: holds no row")
    columns = table.columns or tuple(dict.fromkeys(column for record in records for column in record.values))
    wanted = {"ingest.folder.path_column": path_column, "ingest.folder.caption_column": caption_column}
    check_columns(str(path), wanted, columns)
    return [_entry_of(path, record, path_column, caption_column) for record in records]


def check_columns(where: str, wanted: Mapping[str, str], columns: Sequence[str]) -> None:
    """Checks that a table has its columns.

    Args:
        where: the table, for the message.
        wanted: columns by the key of params.yaml that names each.
        columns: those that the table has.

    Raises:
        ConfigError: one is missing; told with the one that was meant if any that has no other use is alike.
    """
    for key, column in wanted.items():
        if column in columns:
            continue
        free = [name for name in columns if name not in wanted.values()]
        nearest = difflib.get_close_matches(column, free, n=1, cutoff=MIN_LIKENESS)
        hint = f"; nearest: {nearest[0]!r}" if nearest else ""
        found = ", ".join(map(repr, columns[:MAX_NAMED])) + (", ..." if len(columns) > MAX_NAMED else "")
        raise ConfigError(f"{where}: no column {column!r} ({key} in params.yaml); found: {found}{hint}")


def captions_of(value: object) -> tuple[str, ...] | Rejection:
    """Returns the captions that a table's cell holds: a text, or a list of texts."""
    if value is None or value == []:
        return Rejection("no_caption", "the caption is missing")
    captions: list[str] = []
    for caption in value if isinstance(value, list) else [value]:
        if not isinstance(caption, str):
            return Rejection("caption_not_text", _describe(caption))
        captions.append(caption)
    return tuple(captions)


def _readable(path: Path, record: TableRecord | BadRecord) -> TableRecord:
    if isinstance(record, BadRecord):
        raise ConfigError(f"{path}: {record.where}: {record.rejection.detail}")
    return record


def _entry_of(path: Path, record: TableRecord, path_column: str, caption_column: str) -> CaptionEntry:
    picture = record.values.get(path_column)
    if not isinstance(picture, str) or not picture.strip():
        raise ConfigError(f"{path}: {record.where}: {path_column} is {picture!r}, expected the name of a picture")
    return CaptionEntry(picture, captions_of(record.values.get(caption_column)))


def _describe(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} {value}"[:40] if isinstance(value, bool | int | float) else kind
