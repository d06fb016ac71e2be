"""Kitsu, Animechan and the posters, as they behave and as they misbehave; below /api/edge, /v1 and /media.

The catalogue is a function of its size and seed. A poster shows what its synopsis says: one coloured shape somewhere on
a coloured ground, so that a small cascade can learn from it.
"""

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image, ImageDraw

from tests.simulators.server import Request, Response

COLOURS = {"red": "#d03030", "green": "#30a040", "blue": "#3050d0", "yellow": "#e0c020", "purple": "#8030a0"}
GROUNDS = {"white": "#f8f8f8", "black": "#181818", "pink": "#f0b0c0", "gray": "#909090"}
SHAPES = ("circle", "square", "triangle")
PLACES = {"top": (0.5, 0.25), "bottom": (0.5, 0.75), "middle": (0.5, 0.5)}
SIZES = {"tiny": (110, 156), "small": (284, 402), "medium": (390, 554), "large": (550, 780), "original": (620, 879)}
MUTABLE_SIZES = ("small", "large", "original")
SUBTYPES = ("TV", "movie", "OVA", "special")
SORTS = ("userCount", "updatedAt", "createdAt")
SYLLABLES = ("ka", "mi", "ro", "shi", "ta", "no", "yu", "ha", "ren", "sora", "kumo", "tsu")
FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
JSON_API = "application/vnd.api+json"
FREE_REQUESTS = 5
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One title of the catalogue."""

    id: str
    name: str
    english: str
    look: tuple[str, str, str, str]
    """Colour, shape, place and ground of its poster."""
    synopsis: str | None
    rating: str | None
    has_poster: bool
    is_old: bool
    """Its poster has an address without a hash."""
    subtype: str
    watched: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """What someone says in an anime."""

    content: str
    anime: str
    alt_name: str
    character: str


@dataclass(slots=True)
class Anime:
    """The three services; ``entries`` and ``quotes`` may be changed while they run."""

    num_titles: int = 60
    seed: int = 0
    key: str = "a-key-of-animechan"
    """What x-api-key has to be."""
    clock: Callable[[], float] = time.time
    """POSIX time, for the hours of Animechan."""
    busy_every: int = 0
    """Every so many requests Kitsu answers 429; 0 is never."""
    foreign_next_at: int = 20
    """The page at this offset has a ``next`` on a host that is not ours."""
    refused_from: int | None = None
    """Kitsu answers 403 to pages from this offset on."""
    quotes_status: int | None = None
    """Animechan answers with this status, after ``quotes_status_after`` answers that are as they should be."""
    quotes_status_after: int = 0
    quotes_page: bytes | None = None
    """Animechan answers with this instead of JSON."""
    prefixes: Sequence[str] = ("/api/edge/", "/v1/", "/media/")
    entries: list[Entry] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _num_kitsu: int = 0
    _num_quotes: int = 0
    _free: list[float] = field(default_factory=list)
    _blocked_until: float = 0.0

    def __post_init__(self) -> None:
        """Makes the catalogue."""
        self.entries = [_entry(number, self.seed) for number in range(self.num_titles)]
        self.quotes = [quote for entry in self.entries for quote in _quotes_of(entry)]

    def good_entries(self) -> list[Entry]:
        """Returns those that become rows: decent, with a poster and a synopsis."""
        return [one for one in self.entries if one.rating in ("G", "PG", "R") and one.has_poster and one.synopsis]

    def add(self, num_titles: int) -> None:
        """Adds titles, newer than all others."""
        newest = max((entry.updated_at for entry in self.entries), default=FIRST_DAY)
        for step in range(1, num_titles + 1):
            entry = _entry(len(self.entries), self.seed)
            self.entries.append(replace(entry, updated_at=newest + timedelta(hours=step)))
            self.quotes += _quotes_of(entry)

    def touch(self, identifier: str) -> None:
        """Changes a title: it is the newest update then."""
        newest = max(entry.updated_at for entry in self.entries)
        self.entries = [
            replace(entry, updated_at=newest + timedelta(hours=1)) if entry.id == identifier else entry
            for entry in self.entries
        ]

    def spend_free_requests(self) -> None:
        """Lets somebody else at our address use up the hour's free requests."""
        self._free = [self.clock()] * FREE_REQUESTS

    def answer(self, request: Request) -> Response:
        """Answers one request to any of the three."""
        if request.path.startswith("/media/"):
            return self._poster(request)
        with self._lock:
            return self._animechan(request) if request.path.startswith("/v1/") else self._kitsu(request)

    def _kitsu(self, request: Request) -> Response:
        self._num_kitsu += 1
        if self.busy_every and self._num_kitsu % self.busy_every == 0:
            return _json(429, {"errors": [{"status": 429, "title": "Rate Limit Exceeded"}]})
        accepted = request.headers.get("accept", "*/*")
        if JSON_API not in accepted and "*/*" not in accepted:
            return _json_api_error(406, "Not acceptable", f"All requests must use the '{JSON_API}' Accept")
        if request.path == "/api/edge/anime":
            return self._page(request)
        identifier = request.path.removeprefix("/api/edge/anime/")
        found = next((entry for entry in self.entries if entry.id == identifier), None)
        if found is None:
            return _json_api_error(
                404, "Record not found", f"The record identified by {identifier} could not be found."
            )
        return _json(200, {"data": _record(found, request.base)})

    def _page(self, request: Request) -> Response:
        window = [request.query.get("page[limit]", "10"), request.query.get("page[offset]", "0")]
        if not all(number.isdecimal() for number in window) or not 1 <= int(window[0]) <= 20:
            return _json_api_error(400, "Invalid page value", f"{window} is not a valid value for page")
        limit, offset = map(int, window)
        if self.refused_from is not None and offset >= self.refused_from:
            return _json_api_error(403, "Forbidden", "Not for you")
        sort = request.query.get("sort", "createdAt")
        if sort.lstrip("-") not in SORTS:
            return _json_api_error(400, "Invalid sort criteria", f"{sort} is not a valid sort criteria for anime")
        subtypes = request.query.get("filter[subtype]", ",".join(SUBTYPES)).split(",")
        listed = [entry for entry in self.entries if entry.subtype in subtypes]
        listed.sort(key=lambda entry: _sort_key(entry, sort.lstrip("-")), reverse=sort.startswith("-"))
        rows = [_record(entry, request.base) for entry in listed[offset : offset + limit]]
        links = {"first": f"{request.base}/api/edge/anime?page%5Boffset%5D=0"}
        if offset + limit < len(listed):
            host = "http://elsewhere.invalid" if offset == self.foreign_next_at else request.base
            links["next"] = f"{host}/api/edge/anime?page%5Boffset%5D={offset + limit}"
        return _json(200, {"data": rows, "meta": {"count": len(listed)}, "links": links})

    def _animechan(self, request: Request) -> Response:
        refusal = self._refusal(request.headers.get("x-api-key"))
        if refusal is not None:
            return refusal
        if request.path != "/v1/quotes":
            return _json(404, {"message": "Not found"})
        if self.quotes_page is not None:
            return Response(200, self.quotes_page, {"Content-Type": "text/html"})
        self._num_quotes += 1
        if self.quotes_status is not None and self._num_quotes > self.quotes_status_after:
            return _json(self.quotes_status, {"message": "Not today"})
        wanted, page = request.query.get("anime", "").casefold(), int(request.query.get("page", "1"))
        found = [quote for quote in self.quotes if wanted in f"{quote.anime} {quote.alt_name}".casefold()]
        shown = found[5 * (page - 1) : 5 * page]
        return _json(
            200, {"status": "success", "data": [_quote_record(number, one) for number, one in enumerate(shown)]}
        )

    def _refusal(self, key: str | None) -> Response | None:
        if key is not None:
            return None if key == self.key else _json(401, {"message": "Invalid API key"})
        now = self.clock()
        self._free = [at for at in self._free if at > now - HOUR_S]
        if now < self._blocked_until or len(self._free) >= FREE_REQUESTS:
            self._blocked_until = max(self._blocked_until, now + HOUR_S)
            return _json(429, {"message": "Too many requests, please try again later."})
        self._free.append(now)
        return None

    def _poster(self, request: Request) -> Response:
        entry = next((one for one in self.entries if f"/{one.id}/" in request.path), None)
        size = next((one for one in SIZES if f"/{one}" in request.path), "original")
        if entry is None or not entry.has_poster or request.path not in _addresses(entry, "").values():
            return Response(404, b"<html>not found</html>", {"Content-Type": "text/html"})
        content = draw_poster(entry, SIZES[size])
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(304, headers={"ETag": tag})
        return Response(200, content, {"Content-Type": "image/jpeg", "ETag": tag})


def draw_poster(entry: Entry, size: tuple[int, int]) -> bytes:
    """Returns the JPEG of what the synopsis of a title says, a little different for each title."""
    colour, shape, place, ground = entry.look
    generator = np.random.default_rng(int(entry.id))
    width = size[0]
    side = width * generator.uniform(0.4, 0.55)
    centre_x, centre_y = np.array(PLACES[place]) * size + generator.uniform(-0.06, 0.06, 2) * width
    box = (centre_x - side / 2, centre_y - side / 2, centre_x + side / 2, centre_y + side / 2)
    picture = Image.new("RGB", size, GROUNDS[ground])
    draw = ImageDraw.Draw(picture)
    if shape == "circle":
        draw.ellipse(box, COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, COLOURS[colour])
    else:
        draw.polygon([(centre_x, box[1]), (box[2], box[3]), (box[0], box[3])], COLOURS[colour])
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _entry(number: int, seed: int) -> Entry:
    """Makes a title: of ten, one is adult, one unrated, one without poster, one without synopsis, one a sequel."""
    generator = np.random.default_rng((seed, number))
    kind = number % 10
    name = _name(number - 1 if kind == 6 else number, seed)
    colour, shape, place, ground = look = (
        str(generator.choice(list(COLOURS))),
        str(generator.choice(SHAPES)),
        str(generator.choice(list(PLACES))),
        str(generator.choice(list(GROUNDS))),
    )
    synopsis = (
        f"A {colour} {shape} at the {place} of a {ground} poster.\n\nIts story has  two lines\nand a credit."
        f"\n\n(Source: {('Crunchyroll', 'ANN')[number % 2]})"
    )
    created_at = FIRST_DAY + timedelta(hours=7 * number)
    return Entry(
        id=str(1000 + 7 * number),
        name=f"{name} Season 2" if kind == 6 else name,
        english=f"The {name} Show",
        look=look,
        synopsis=None if kind == 5 else synopsis,
        rating={1: "R18", 2: None}.get(kind, ("G", "PG", "R")[number % 3]),
        has_poster=kind != 3,
        is_old=kind == 4,
        subtype=SUBTYPES[(number // 10) % len(SUBTYPES)] if kind == 9 else "TV",
        watched=int(generator.integers(0, 20_000)),
        created_at=created_at,
        updated_at=created_at + timedelta(minutes=int(generator.integers(0, 300))),
    )


def _name(number: int, seed: int) -> str:
    order = np.random.default_rng(seed).permutation(len(SYLLABLES) ** 2)
    first, second = divmod(int(order[number % len(order)]), len(SYLLABLES))
    again = f" {1 + number // len(order)}" if number >= len(order) else ""
    return f"{SYLLABLES[first]}{SYLLABLES[second]} no {SYLLABLES[first]}zu".title() + again


def _quotes_of(entry: Entry) -> list[Quote]:
    """Returns seven quotes of a title that is no sequel, and one of a spin-off whose name holds the title's."""
    if entry.name.endswith("Season 2"):
        return []
    colour, shape, _, _ = entry.look
    own = [
        Quote(f"No.\n {number}  Every {colour} {shape} casts a shadow.", entry.name.upper(), entry.english, "Saki")
        for number in range(7)
    ]
    return [Quote(f"I am not {entry.name}.", f"Boru: {entry.name} Next", "", "Boru"), *own]


def _record(entry: Entry, base: str) -> Mapping[str, object]:
    own = f"{base}/api/edge/anime/{entry.id}"
    attributes = {
        "createdAt": _moment(entry.created_at),
        "updatedAt": _moment(entry.updated_at),
        "synopsis": entry.synopsis,
        "titles": {"en": entry.english, "en_jp": entry.name, "ja_jp": None},
        "canonicalTitle": entry.name,
        "averageRating": "71.31",
        "startDate": entry.created_at.date().isoformat(),
        "endDate": None,
        "ageRating": entry.rating,
        "subtype": entry.subtype,
        "posterImage": _poster_record(entry, base) if entry.has_poster else None,
        "coverImage": None,
        "nsfw": entry.rating == "R18",
        "somethingNew": [1, {"two": 3}],
    }
    return {"id": entry.id, "type": "anime", "links": {"self": own}, "attributes": attributes, "relationships": {}}


def _poster_record(entry: Entry, base: str) -> Mapping[str, object]:
    dimensions = {size: {"width": None, "height": None} for size in SIZES if size != "original"}
    return _addresses(entry, base) | {"meta": {"dimensions": dimensions}}


def _addresses(entry: Entry, base: str) -> dict[str, str]:
    """Returns the address of each size that a title's poster has."""
    if entry.is_old:
        return {size: f"{base}/media/anime/poster_images/{entry.id}/{size}.jpg" for size in MUTABLE_SIZES}
    folder, digest = f"{base}/media/anime/{entry.id}/poster_image", hashlib.md5(entry.id.encode()).hexdigest()
    small = {size: f"{folder}/{size}-{digest}.jpeg" for size in SIZES if size != "original"}
    return small | {"original": f"{folder}/{digest}.jpg"}


def _quote_record(number: int, quote: Quote) -> Mapping[str, object]:
    anime = {"id": number, "name": quote.anime, "altName": quote.alt_name}
    return {"content": quote.content, "anime": anime, "character": {"id": number, "name": quote.character}}


def _sort_key(entry: Entry, sort: str) -> tuple[float, str]:
    updated, created = entry.updated_at.timestamp(), entry.created_at.timestamp()
    return ({"userCount": entry.watched, "updatedAt": updated, "createdAt": created}[sort], entry.id)


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_api_error(status: int, title: str, detail: str) -> Response:
    error = {"title": title, "detail": detail, "code": str(status), "status": str(status)}
    return _json(status, {"errors": [error]})


def _json(status: int, document: Mapping[str, object]) -> Response:
    return Response(status, json.dumps(document).encode(), {"Content-Type": f"{JSON_API}; charset=utf-8"})
