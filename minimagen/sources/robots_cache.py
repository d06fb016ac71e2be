"""What robots.txt files said, kept on disk for a day and for all processes of the machine. Knows nothing of rules."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from minimagen.sources.clock import Clock

KEPT_S = 86400.0
_TABLE = "CREATE TABLE IF NOT EXISTS robots (origin TEXT PRIMARY KEY, read_at REAL, outcome TEXT, text BLOB)"


@dataclass(frozen=True, slots=True)
class RobotsText:
    """What came of asking an origin for its robots.txt."""

    outcome: str
    """Empty if there is a file, or a word for why there is none."""
    text: bytes


class RobotsCache:
    """A small database; a lost one costs requests only."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as database, database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(_TABLE)
            database.execute("DELETE FROM robots WHERE read_at < ?", (clock.wall() - KEPT_S,))

    def find(self, origin: str) -> RobotsText | None:
        """Returns what an origin said within a day, None if it has to be asked."""
        with closing(self._open()) as database:
            query = "SELECT outcome, text FROM robots WHERE origin = ? AND read_at BETWEEN ? AND ?"
            now = self._clock.wall()
            found = database.execute(query, (origin, now - KEPT_S, now)).fetchone()
        return None if found is None else RobotsText(*found)

    def keep(self, origin: str, text: RobotsText) -> None:
        """Keeps what an origin said."""
        with closing(self._open()) as database, database:
            values = (origin, self._clock.wall(), text.outcome, text.text)
            database.execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?)", values)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30.0)
