"""Tables of addresses and captions, in any format and any shape that a table has.

Knows no web and no shard. Rows come one at a time; one that cannot be asked for says why, and none is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import ConfigError
from minimagen.rows import Rejection
from minimagen.sources.caption_tables import captions_of, check_columns
from minimagen.sources.captions import MAX_RAW_CHARS
from minimagen.sources.json_shapes import WHOLE, open_part, part_names
from minimagen.sources.table_records import BadRecord, RecordTable, TableRecord, open_table, read_json_document
from minimagen.sources.urls import MAX_CHARACTERS

MAX_COLUMNS = 1000
"""Names of columns that are remembered of a table whose records each have their own."""


@dataclass(frozen=True, slots=True)
class UrlTable:
    """What is to be read."""

    path: Path
    url_column: str
    caption_column: str
    part: str | None
    """Of a file of several parts; None is all of them."""


@dataclass(frozen=True, slots=True)
class UrlRow:
    """One row of a table."""

    where: str
    """"line 3", or "train: entry 3", for messages."""
    part: str
    """Name of its part; empty in a table of one."""
    url: str
    """Empty if there is none that can be stored."""
    captions: tuple[str, ...]
    """As they stand there; empty if there is none that could be accepted."""
    rejection: Rejection | None


def read_url_table(table: UrlTable) -> Iterator[UrlRow]:
    """Yields every row of a table in its order.

    Raises:
        ConfigError: the file is missing, is not what its suffix says, lacks a column or the part, or holds no row.
    """
    num_rows = 0
    for name, part in _parts_of(table):
        if part.columns:
            _check_columns(table, name, part.columns)
        seen: dict[str, None] = {}
        for record in part.records:
            num_rows += 1
            if isinstance(record, TableRecord) and not part.columns and len(seen) < MAX_COLUMNS:
                seen.update(dict.fromkeys(record.values))
            yield _row_of(table, name, record)
        if seen:
            _check_columns(table, name, tuple(seen))
    if num_rows == 0:
        raise ConfigError(f"{table.path}: holds no row")


def url_row(where: str, part: str, url_cell: object, caption_cell: object) -> UrlRow:
    """Returns the row that two cells make, whatever is in them."""
    url, captions = _url_of(url_cell), _storable(captions_of(caption_cell))
    rejection = next((one for one in (url, captions) if isinstance(one, Rejection)), None)
    return UrlRow(
        where,
        part,
        "" if isinstance(url, Rejection) else url,
        () if isinstance(captions, Rejection) else captions,
        rejection,
    )


def _parts_of(table: UrlTable) -> Iterator[tuple[str, RecordTable]]:
    if table.path.suffix.lower() != ".json" or not table.path.is_file():
        _check_part(table, (WHOLE,))
        yield WHOLE, open_table(table.path, (table.url_column, table.caption_column))
        return
    document = read_json_document(table.path)
    names = part_names(document)
    _check_part(table, names)
    for name in names if table.part is None else (table.part,):
        yield name, open_part(table.path, document, name)


def _check_part(table: UrlTable, names: tuple[str, ...]) -> None:
    if table.part is None or table.part in names:
        return
    found = "it has no parts" if names == (WHOLE,) else f"found: {', '.join(map(repr, names))}"
    raise ConfigError(f"{table.path}: no part {table.part!r} (ingest.manifest.split in params.yaml); {found}")


def _check_columns(table: UrlTable, part: str, columns: tuple[str, ...]) -> None:
    where = f"{table.path}: {part}" if part != WHOLE else str(table.path)
    wanted = {"ingest.manifest.url_column": table.url_column, "ingest.manifest.caption_column": table.caption_column}
    check_columns(where, wanted, columns)


def _row_of(table: UrlTable, part: str, record: TableRecord | BadRecord) -> UrlRow:
    where = f"{part}: {record.where}" if part != WHOLE else record.where
    if isinstance(record, BadRecord):
        return UrlRow(where, part, "", (), record.rejection)
    return url_row(where, part, record.values.get(table.url_column), record.values.get(table.caption_column))


def _url_of(value: object) -> str | Rejection:
    if value is None or value == "":
        return Rejection("no_url", "the address is missing")
    if not isinstance(value, str):
        return Rejection("bad_url", f"{type(value).__name__}, expected a text")
    url = value.strip()
    if len(url) > MAX_CHARACTERS:
        return Rejection("bad_url", f"{len(url)} characters, at most {MAX_CHARACTERS} expected")
    if _has_half_character(url):
        return Rejection("bad_url", f"half of a surrogate pair: {url[:40]!a}")
    return url or Rejection("no_url", "the address is blank")


def _storable(captions: tuple[str, ...] | Rejection) -> tuple[str, ...] | Rejection:
    """Rejects at once what could not be written down, and what is so long that it would never be accepted."""
    if isinstance(captions, Rejection):
        return captions
    broken = next(filter(_has_half_character, captions), None)
    if broken is not None:
        return Rejection("caption_not_text", f"half of a surrogate pair: {broken[:40]!a}")
    if all(len(caption) > MAX_RAW_CHARS for caption in captions):
        return Rejection("caption_too_long", f"{len(captions[0])} characters, at most {MAX_RAW_CHARS}")
    return captions


def _has_half_character(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)
