"""A loopback TMDB: API version 3, image host and daily exports, with the answers and the traps of the real ones.

Its clock is ``today``, which ``advance`` moves: films appear as time goes on. Every request is in the site's log.
"""

import gzip
import hashlib
import json
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import formatdate

from tests.simulators.server import Request, Response
from tests.simulators.tmdb_films import FILMS_PER_DAY, LANGUAGES, START, Film, draw_poster, films_of

PAGE_SIZE = 20
MAX_PAGE = 500
POSTER_SIZES = ("w92", "w154", "w185", "w342", "w500", "w780", "original")
TOKEN = "eyJhbGciOiJIUzI1NiJ9.simulated.read-access-token"
_ERRORS = {
    6: (404, "Invalid id: The pre-requisite id is invalid or not found."),
    7: (401, "Invalid API key: You must be granted a valid key."),
    21: (200, "Entry not found: The item you are trying to edit cannot be found."),
    22: (400, "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer."),
    23: (400, "Invalid date: Format needs to be YYYY-MM-DD."),
    25: (429, "Your request count (#) is over the allowed limit of (40)."),
    27: (400, "Too many append to response objects: The maximum number of remote calls is 20."),
    34: (404, "The resource you requested could not be found."),
}


@dataclass(slots=True)
class Tmdb:
    """The service; a test changes what it shall do between two requests."""

    num_films: int = 30_000
    """Films on the first day; each day after it has FILMS_PER_DAY more."""
    seed: int = 0
    spike: float = 0.18
    """Share of films of a 1 January."""
    token: str = TOKEN
    requests_per_s: float | None = None
    """Requests a second that are answered; others get 429, in turn without Retry-After, with seconds, with a date."""
    refusals: list[Mapping[str, str]] = field(default_factory=list)
    """The next API requests are answered 429 with these headers, one after the other."""
    has_drift: bool = False
    """Popularity moves between two requests: films that are equal in what is sorted by change places."""
    is_export_truncated: bool = False
    days_without_export: set[date] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    """Films whose details are answered 404."""
    unsuccessful: set[int] = field(default_factory=set)
    """Films whose details are answered 200 with ``success: false``."""
    broken: set[int] = field(default_factory=set)
    """Films whose details are answered by an error of the client's."""
    image_base: str | None = None
    """What /configuration says instead of this server."""
    today: date = START
    prefixes: Sequence[str] = ("/3/", "/p/exports/", "/t/p/")
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _found: OrderedDict[tuple[object, ...], list[Film]] = field(default_factory=OrderedDict)
    _by_id: dict[int, Film] = field(default_factory=dict)
    _tokens: float = 0.0
    _filled_at: float = 0.0
    _num_refused: int = 0

    def advance(self, days: int) -> None:
        """Lets days pass."""
        self.today += timedelta(days=days)

    def films(self) -> tuple[Film, ...]:
        """Returns every film that the service knows today, by id."""
        number = self.num_films + FILMS_PER_DAY * max(0, (self.today - START).days)
        return films_of(self.seed, number, self.num_films, self.spike)

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        with self._lock:
            if request.path.startswith("/t/p/"):
                return self._answer_image(request)
            if request.path.startswith("/p/exports/"):
                return self._answer_export(request.path)
            return self._answer_api(request)

    def _answer_api(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _error(7)
        if self.refusals:
            return _error(25, self.refusals.pop(0))
        if not self._has_room():
            self._num_refused += 1
            retry_after = ({}, {"Retry-After": "1"}, {"Retry-After": formatdate(time.time() + 1, usegmt=True)})
            return _error(25, retry_after[self._num_refused % 3])
        path = request.path.removeprefix("/3")
        if path == "/authentication":
            return _json({"success": True, "status_code": 1, "status_message": "Success."})
        if path == "/configuration":
            base = self.image_base or f"{request.base}/t/p/"
            sizes = {"poster_sizes": list(POSTER_SIZES), "still_sizes": ["w92", "original"]}
            return _json({"images": {"base_url": base, "secure_base_url": base} | sizes, "change_keys": ["adult"]})
        if path == "/configuration/languages":
            return _json([{"iso_639_1": code, "english_name": code, "name": ""} for code in LANGUAGES])
        if path == "/discover/movie":
            return self._answer_discover(request.query)
        if match := re.fullmatch(r"/movie/(\d+)", path):
            return self._answer_details(int(match[1]), request.query)
        return _error(34)

    def _has_room(self) -> bool:
        if self.requests_per_s is None:
            return True
        now = time.monotonic()
        refilled = self._tokens + (now - self._filled_at) * self.requests_per_s
        self._tokens, self._filled_at = min(self.requests_per_s, refilled), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _answer_discover(self, query: Mapping[str, str]) -> Response:
        page = query.get("page", "1")
        if not re.fullmatch(r"\d+", page) or int(page) < 1:
            return _error(22)
        if int(page) > MAX_PAGE:
            return _error(22) if int(page) % 2 else _json({"errors": ["page must be less than or equal to 500"]}, 422)
        bounds = [query.get(f"primary_release_date.{side}") for side in ("gte", "lte")]
        if not all(bound is None or _is_date(bound) for bound in bounds):
            return _error(23)
        found = self._search({name: value for name, value in query.items() if name != "page"}, int(page))
        first = (int(page) - 1) * PAGE_SIZE
        language = query.get("language", "en-US")
        return _json(
            {
                "page": int(page),
                "results": [_summary(film, language) for film in found[first : first + PAGE_SIZE]],
                "total_pages": -(-len(found) // PAGE_SIZE),
                "total_results": len(found),
            }
        )

    def _search(self, query: Mapping[str, str], page: int) -> list[Film]:
        key = (self.today, *sorted(query.items()))
        if self.has_drift or key not in self._found:
            films = [film for film in self.films() if _matches(film, query)]
            if self.has_drift:
                random.Random(repr((key, page))).shuffle(films)
            name, _, order = query.get("sort_by", "popularity.desc").rpartition(".")
            films.sort(key=_SORT_KEYS[name], reverse=order == "desc")
            self._found[key] = films
            while len(self._found) > 32:
                self._found.popitem(last=False)
        return self._found[key]

    def _film(self, number: int) -> Film | None:
        films = self.films()
        if len(self._by_id) != len(films):
            self._by_id = {film.id: film for film in films}
        return self._by_id.get(number)

    def _answer_details(self, number: int, query: Mapping[str, str]) -> Response:
        appended = [name for name in query.get("append_to_response", "").split(",") if name]
        if len(appended) > 20:
            return _error(27)
        film = self._film(number)
        if film is None or number in self.gone:
            return _error(34 if number % 2 else 6)
        if number in self.broken:
            return _error(27)
        if number in self.unsuccessful:
            return _error(21)
        document = _summary(film, query.get("language", "en-US"))
        del document["genre_ids"]
        document |= {"tagline": film.tagline, "status": "Released", "runtime": 90, "budget": 0, "imdb_id": None}
        if "images" in appended:
            wanted = query.get("include_image_language", query.get("language", "en-US")[:2]).split(",")
            posters = [_image(film.poster, "en", 5.3), _image(film.textless, None, 5.1), _image(film.poster, "fr", 9.9)]
            shown = [one for one in posters if one["file_path"] and (one["iso_639_1"] or "null") in wanted]
            document["images"] = {"backdrops": [], "logos": [], "posters": shown}
        return _json(document)

    def _answer_export(self, path: str) -> Response:
        match = re.fullmatch(r"/p/exports/movie_ids_(\d\d)_(\d\d)_(\d{4})\.json\.gz", path)
        if match is None:
            return Response(404, b"<Error><Code>NoSuchKey</Code></Error>")
        day = date(int(match[3]), int(match[1]), int(match[2]))
        if not self.today - timedelta(days=90) <= day <= self.today or day in self.days_without_export:
            return Response(404, b"<Error><Code>NoSuchKey</Code></Error>")
        lines = [_export_line(film) for film in self.films() if film.added <= day]
        lines.insert(len(lines) // 2, '{"adult":false,"id":77,"original_tit')
        content = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        return Response(200, content[: len(content) // 2] if self.is_export_truncated else content, {"ETag": etag})

    def _answer_image(self, request: Request) -> Response:
        match = re.fullmatch(r"/t/p/(\w+)/(cdn-)?([pt])(\d+)x(\w+)\.jpg", request.path)
        film = None if match is None else self._film(int(match[4]))
        if match is None or film is None or f"/{match[3]}{match[4]}x{match[5]}.jpg" not in (film.poster, film.textless):
            return Response(404, b"<h1>File not found</h1>", {"Content-Type": "text/html"})
        if match[1] not in POSTER_SIZES:
            return Response(400, b"<h1>Bad size</h1>", {"Content-Type": "text/html"})
        if film.id % 50 == 7 and match[2] is None:
            name = request.path.rpartition("/")[2]
            return Response(302, b"", {"Location": f"/t/p/{match[1]}/cdn-{name}"})
        etag = f'"{hashlib.sha256(request.path.encode()).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "public, max-age=31919000", "Content-Type": "image/jpeg"}
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", headers)
        width = 500 if match[1] == "original" else int(match[1].removeprefix("w"))
        return Response(200, draw_poster(film, width, has_title=match[3] == "p"), headers)


def _matches(film: Film, query: Mapping[str, str]) -> bool:
    first, last = query.get("primary_release_date.gte"), query.get("primary_release_date.lte")
    released = "" if film.released is None else film.released.isoformat()
    if (first or last) and not released:
        return False
    if (first and released < first) or (last and released > last):
        return False
    if film.votes < float(query.get("vote_count.gte", 0)) or film.votes > float(query.get("vote_count.lte", "inf")):
        return False
    if film.language != query.get("with_original_language", film.language):
        return False
    if film.video and query.get("include_video", "false") != "true":
        return False
    # Now and then an adult film comes although it was not asked for.
    return not film.adult or film.id % 2 == 0 or query.get("include_adult", "false") == "true"


_SORT_KEYS = {
    "popularity": lambda film: film.popularity,
    "primary_release_date": lambda film: film.released or date.min,
    "title": lambda film: film.title,
    "original_title": lambda film: film.title,
    "vote_average": lambda film: film.id % 100,
    "vote_count": lambda film: film.votes,
    "revenue": lambda film: film.id % 1000,
}


def _summary(film: Film, language: str) -> dict[str, object]:
    record: dict[str, object] = {
        "adult": film.adult,
        "backdrop_path": None,
        "genre_ids": [16, 18],
        "id": film.id,
        "original_language": film.language,
        "original_title": film.title,
        "overview": film.overview if language.startswith("en") else "",
        "popularity": film.popularity,
        "poster_path": film.poster,
        "release_date": "" if film.released is None else film.released.isoformat(),
        "softcore": film.softcore,
        "title": film.title,
        "video": film.video,
        "vote_average": film.id % 100 / 10 if film.votes else 0,
        "vote_count": film.votes,
        "a_key_of_next_year": {"nested": [1, None]},
    }
    if film.released is None and film.id % 2:
        del record["release_date"]
    return record


def _image(path: str | None, language: str | None, vote_average: float) -> dict[str, object]:
    votes = {"vote_average": vote_average, "vote_count": 6}
    return {"aspect_ratio": 0.667, "height": 750, "width": 500, "iso_639_1": language, "file_path": path} | votes


def _export_line(film: Film) -> str:
    record = {"adult": film.adult, "id": film.id, "original_title": film.title, "popularity": film.popularity}
    return json.dumps(record | {"video": film.video}, separators=(",", ":"))


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d")
    except ValueError:
        return False
    return True


def _error(code: int, headers: Mapping[str, str] | None = None) -> Response:
    status, message = _ERRORS[code]
    return _json({"success": False, "status_code": code, "status_message": message}, status, headers)


def _json(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(document).encode()
    return Response(status, content, {"Content-Type": "application/json;charset=utf-8"} | dict(headers or {}))
