"""Rows of a table gathered in a file, so that the rows of one address find each other in flat memory.

Knows no shard. The file is scratch: it is made anew and taken away.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from minimagen.rows import Rejection
from minimagen.sources.url_identity import identity_of
from minimagen.sources.url_tables import UrlRow

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -16384;
CREATE TABLE rows (id INTEGER PRIMARY KEY, identity INTEGER, place TEXT, part TEXT, url TEXT, captions TEXT,
    reason TEXT, detail TEXT);
CREATE TABLE later (id INTEGER PRIMARY KEY, first INTEGER, occurrence INTEGER);
"""
_INDEX = """
CREATE INDEX by_identity ON rows (identity);
INSERT INTO later SELECT id, first, occurrence FROM (
    SELECT id, min(id) OVER same AS first, row_number() OVER same AS occurrence
    FROM rows WINDOW same AS (PARTITION BY identity ORDER BY id)
) WHERE occurrence > 1;
CREATE INDEX by_first ON later (first);
"""
_ROWS = """
SELECT id, identity, place, part, url, captions, reason, detail, ifnull(occurrence, 1),
    EXISTS (SELECT 1 FROM later AS other WHERE other.first = rows.id)
FROM rows LEFT JOIN later USING (id) ORDER BY id
"""
_LATER_CAPTIONS = "SELECT captions FROM later JOIN rows USING (id) WHERE first = ? ORDER BY id"


@dataclass(frozen=True, slots=True)
class GatheredRow:
    """A row, and how it stands to the others of its address."""

    row: UrlRow
    """The first of an address has the captions of all, each once; and is not rejected for want of its own."""
    identity: int
    """64 bits, the same for all rows of an address; of a row without one, a hash of what is wrong with it."""
    occurrence: int
    """From 1, among the rows of the same identity."""


@contextmanager
def gather(rows: Iterable[UrlRow], path: Path) -> Iterator[Iterator[GatheredRow]]:
    """Reads all rows and then yields them in the same order; ``path`` holds them meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as scratch:
            scratch.executescript(_TABLES)
            scratch.execute("BEGIN")
            records = map(_to_record, rows)
            scratch.executemany(
                "INSERT INTO rows (identity, place, part, url, captions, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
                records,
            )
            scratch.execute("COMMIT")
            scratch.executescript(_INDEX)
            yield _gathered(scratch)
    finally:
        path.unlink(missing_ok=True)


def _to_record(row: UrlRow) -> tuple[int, str, str, str, str, str, str]:
    reason, detail = ("", "") if row.rejection is None else (row.rejection.reason, row.rejection.detail)
    identity = identity_of(row.url) if row.url else _identity_of_complaint(row.part, reason, detail)
    return (identity - 2**63, row.where, row.part, row.url, json.dumps(row.captions), reason, detail)


def _identity_of_complaint(*words: str) -> int:
    """Identity of a row without an address; its place is no part of it, so that rows may be put in another order."""
    text = "\x00".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _gathered(scratch: sqlite3.Connection) -> Iterator[GatheredRow]:
    for number, identity, where, part, url, captions, reason, detail, occurrence, has_later in scratch.execute(_ROWS):
        own: list[str] = json.loads(captions)
        rejection = Rejection(reason, detail) if reason else None
        if has_later and url:
            others = [other for (text,) in scratch.execute(_LATER_CAPTIONS, (number,)) for other in json.loads(text)]
            own = list(dict.fromkeys(own + others))
            rejection = None if own else rejection
        yield GatheredRow(UrlRow(where, part, url, tuple(own), rejection), identity + 2**63, occurrence)
