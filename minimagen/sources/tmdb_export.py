"""TMDB's daily list of all films: one gzip file of JSON lines. Knows nothing of what a film shows."""

import gzip
import json
import logging
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from minimagen.errors import UserError
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.tmdb_films import Film, film_of
from minimagen.sources.tmdb_state import ListingState

_DAYS_BACK = 7
_LONGEST_LINE_BYTES = 100_000
_REQUEST = "export"
_ABSENT = frozenset({403, 404})  # a bucket says 403 for what is not there

logger = logging.getLogger(__name__)


def list_export(client: ApiClient, state: ListingState, day: date, folder: Path) -> str:
    """Keeps the films of the newest export that was there on ``day``, and returns its date.

    The file of a day is there from 08:00 UTC on, and for three months: what is absent is looked for up to seven days
    earlier. A line that is no film is kept as odd.

    Args:
        folder: where the file is while it is read.

    Raises:
        UserError: there is none, or it is damaged.
    """
    known = state.answer(_REQUEST)
    if isinstance(known, dict):
        return str(known["day"])
    path = folder / "export.json.gz"
    found = _download(client, day, path)
    odd: list[tuple[str, str]] = []
    state.keep(_REQUEST, {"day": found.isoformat()}, _films_of(path, found, odd), odd)
    path.unlink()
    return found.isoformat()


def _films_of(path: Path, day: date, odd: list[tuple[str, str]]) -> Iterator[tuple[Film, float]]:
    """Yields the films of an export with their popularity, and adds what is none to ``odd``."""
    for line in _lines_of(path, day):
        try:
            film = film_of(json.loads(line))
        except (ValueError, RecursionError) as error:  # not JSON, or no film
            odd.append((line[:2000].decode("ascii", "backslashreplace"), str(error)[:200]))
        else:
            yield film, film.popularity


def _download(client: ApiClient, day: date, path: Path) -> date:
    for back in range(_DAYS_BACK + 1):
        wanted = day - timedelta(days=back)
        try:
            client.download(f"/movie_ids_{wanted:%m_%d_%Y}.json.gz", path)
        except ApiError as error:
            if error.status not in _ABSENT:
                raise
            logger.info("tmdb: no export of %s yet", wanted)
        else:
            return wanted
    raise UserError(
        f"TMDB has no export of {day} or the {_DAYS_BACK} days before it: exports are kept for three months; "
        "ingest.snapshot has to be a younger date, or ingest.tmdb.listing discover"
    )


def _lines_of(path: Path, day: date) -> Iterator[bytes]:
    try:
        with gzip.open(path) as stream:
            while line := stream.readline(_LONGEST_LINE_BYTES):
                if line := line.strip():
                    yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        path.unlink()
        raise UserError(
            f"TMDB: the export of {day} is damaged ({error}): run again later, or with ingest.snapshot one day earlier"
        ) from error
