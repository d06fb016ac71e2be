"""What TMDB has answered so far for one listing, so that a killed one goes on where it stopped: one SQLite file.

Knows no network. What was kept when the process died stays kept; the file may be deleted at any time.
"""

import json
import sqlite3
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from minimagen.sources.tmdb_films import SOURCE, Film

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (request TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS films (id INTEGER PRIMARY KEY, is_new INTEGER NOT NULL, weight REAL NOT NULL, record TEXT);
CREATE TABLE IF NOT EXISTS odd (text TEXT PRIMARY KEY, detail TEXT NOT NULL) WITHOUT ROWID;
"""


class ListingState:
    """Answers by request, and the films in them, each once."""

    def __init__(self, path: Path, known: Container[str]) -> None:
        """Opens the file, or makes it.

        Args:
            known: keys of earlier snapshots; their films are counted and not listed.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._known = known
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)

    def answer(self, request: str) -> object | None:
        """Returns what was kept of the answer to a request, None if it has to be asked."""
        found = self._connection.execute("SELECT record FROM answers WHERE request = ?", (request,)).fetchone()
        return None if found is None else json.loads(found[0])

    def keep(
        self,
        request: str,
        record: object,
        films: Iterable[tuple[Film, float]] = (),
        odd: Collection[tuple[str, str]] = (),
    ) -> None:
        """Keeps an answer and what was in it, all or nothing.

        Args:
            films: each with its weight, by which films are listed; one that is there already stays as it is.
            odd: entries that are no film, each with what is odd about it; looked at after ``films``.
        """
        with self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO films VALUES (?, ?, ?, ?)",
                (self._row_of(film, weight) for film, weight in films),
            )
            self._connection.executemany("INSERT OR IGNORE INTO odd VALUES (?, ?)", odd)
            self._connection.execute("INSERT INTO answers VALUES (?, ?)", (request, json.dumps(record)))

    def num_films(self, *, new_only: bool) -> int:
        """Returns how many different films there are so far."""
        condition = "WHERE is_new" if new_only else ""
        return self._connection.execute(f"SELECT COUNT(*) FROM films {condition}").fetchone()[0]

    def films(self, limit: int | None) -> Iterator[Film]:
        """Yields the new films by falling weight, and those of one weight by id."""
        order = "SELECT record FROM films WHERE is_new ORDER BY weight DESC, id LIMIT ?"
        for (record,) in self._connection.execute(order, (-1 if limit is None else limit,)):
            yield Film(**json.loads(record))

    def odd_entries(self) -> Iterator[tuple[str, str]]:
        """Yields every entry that is no film, and what is odd about it."""
        yield from self._connection.execute("SELECT text, detail FROM odd ORDER BY text")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _row_of(self, film: Film, weight: float) -> tuple[int, bool, float, str | None]:
        is_new = f"{SOURCE}:{film.id}" not in self._known
        return (film.id, is_new, weight, json.dumps(asdict(film)) if is_new else None)
