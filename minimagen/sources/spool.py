"""The spool of one shard: what came of each address, kept the moment it is known, until the shard is written.

A killed process loses only what it was about to keep. Knows no row and no network. A spool of other work (another
list, other rules), or one that cannot be read, is begun anew: it may be deleted at any time.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from minimagen.rows import Rejection
from minimagen.sources.images import NormalisedImage

logger = logging.getLogger(__name__)

_PICTURE_COLUMNS = tuple(field.name for field in fields(NormalisedImage))
_INSERT_PICTURE = f"INSERT INTO picture VALUES ({', '.join('?' * (1 + len(_PICTURE_COLUMNS)))})"
_values_of = attrgetter(*_PICTURE_COLUMNS)
# A write is safe from kills once it is in the log; NORMAL leaves waiting for the disk to the few checkpoints.
_PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 10000;"
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS work (fingerprint TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS refusal (url TEXT PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS picture (url TEXT PRIMARY KEY, {", ".join(_PICTURE_COLUMNS)});
"""


@dataclass(frozen=True, slots=True)
class Spool:
    """An open spool; made by ``open_spool``."""

    _database: sqlite3.Connection

    def keep(self, url: str, outcome: NormalisedImage | Rejection) -> None:
        """Keeps what came of an address; once this returns, no kill of the process loses it."""
        if isinstance(outcome, Rejection):
            self._database.execute("INSERT INTO refusal VALUES (?, ?, ?)", (url, outcome.reason, outcome.detail))
        else:
            self._database.execute(_INSERT_PICTURE, (url, *_values_of(outcome)))

    def verdicts(self) -> dict[str, str | Rejection]:
        """Returns for each address the SHA-256 of the file that came, or why none did."""
        refusals = self._database.execute("SELECT url, reason, detail FROM refusal")
        verdicts: dict[str, str | Rejection] = {url: Rejection(reason, detail) for url, reason, detail in refusals}
        return verdicts | dict(self._database.execute("SELECT url, sha256 FROM picture"))

    def picture(self, url: str) -> NormalisedImage:
        """Returns the picture that came from an address."""
        columns = ", ".join(_PICTURE_COLUMNS)
        found = self._database.execute(f"SELECT {columns} FROM picture WHERE url = ?", (url,)).fetchone()
        return NormalisedImage(*found)


@contextmanager
def open_spool(path: Path, fingerprint: str) -> Iterator[Spool]:
    """Opens the spool of some work, or begins it.

    Args:
        fingerprint: of all that the outcomes depend on beside the hosts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = _open(path, fingerprint)
    if database is None:
        remove_spool(path)
        database = _open(path, fingerprint)
        assert database is not None, f"{path}: a new spool is not as it was made"
    try:
        yield Spool(database)
    finally:
        database.close()


def remove_spool(path: Path) -> None:
    """Deletes a spool and what SQLite keeps beside it."""
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink(missing_ok=True)


def _open(path: Path, fingerprint: str) -> sqlite3.Connection | None:
    """Returns None if the spool is damaged, or of other work."""
    work = f"{fingerprint} {_SCHEMA}"
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.executescript(_PRAGMAS + _SCHEMA)
        database.execute("INSERT INTO work SELECT ? WHERE NOT EXISTS (SELECT * FROM work)", (work,))
        is_whole = database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        if is_whole and database.execute("SELECT * FROM work").fetchall() == [(work,)]:
            return database
    except sqlite3.OperationalError:
        database.close()
        raise
    except sqlite3.DatabaseError as error:
        logger.warning("%s: begun anew, since it cannot be read: %s", path, error)
    database.close()
    return None
