"""Kitsu's catalogue of anime: pages of titles, each answer kept until the plan that it is for stands.

Knows no quote and no caption. Pages are asked for by offset: the ``next`` of an answer is a sign that there is more and
is never followed, since it names whatever host the service believes to be.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from minimagen.errors import UserError
from minimagen.files import canonical_json, write_atomic
from minimagen.sources.http import ApiClient

PAGE_ROWS = 20
"""Titles a page: the most that the service gives."""
POSTER_SIZES = ("tiny", "small", "medium", "large", "original")
_FIELDS = "canonicalTitle,titles,synopsis,posterImage,nsfw,ageRating,subtype,startDate,updatedAt"
_ID = re.compile(r"[0-9]{1,18}")
_DECENT_RATINGS = ("G", "PG", "R")


@dataclass(frozen=True, slots=True)
class Title:
    """One title of the catalogue, as the service describes it."""

    id: str
    names: tuple[str, ...] = ()
    """The canonical one first; each once."""
    english: str = ""
    synopsis: str = ""
    posters: tuple[tuple[str, str], ...] = ()
    """Address of each size that there is, smallest first."""
    is_adult: bool | None = None
    """None where the service does not say."""
    age_rating: str = ""
    subtype: str = ""
    start_date: str = ""
    updated_at: datetime | None = None
    problem: str = ""
    """What of the record cannot be understood; the other fields are empty then."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    titles: tuple[Title, ...]
    has_more: bool
    num_total: int
    """Titles in the whole list, as it was when the page was asked for."""


class Catalogue:
    """The list of titles in one order; what was answered is kept in ``folder`` and not asked for again."""

    def __init__(self, client: ApiClient, folder: Path, subtypes: tuple[str, ...]) -> None:
        """Lists the titles of ``subtypes``, all of them if it is empty."""
        self._client = client
        self._folder = folder
        self._filter = {"filter[subtype]": ",".join(subtypes)} if subtypes else {}

    def newest_update(self) -> str:
        """Returns when a title was last changed, in the service's own words; empty for an empty catalogue."""
        document = self._document("-updatedAt", 0, 1)
        rows = _rows_of(document)
        return str(_dict(_dict(rows[0]).get("attributes")).get("updatedAt") or "") if rows else ""

    def pages(self, sort: str) -> Iterator[Page]:
        """Yields the pages in the order of ``sort``, asking for each when it is needed.

        Raises:
            UserError: an answer is not what the service documents.
        """
        offset, has_more = 0, True
        while has_more:
            page = _page_of(self._document(sort, offset, PAGE_ROWS), offset)
            yield page
            offset, has_more = offset + PAGE_ROWS, page.has_more

    def _document(self, sort: str, offset: int, limit: int) -> Mapping[str, object]:
        path = self._folder / f"{sort.lstrip('-')}-{limit}-{offset:07d}.json"
        try:
            return _dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            document = self._ask(sort, offset, limit)
            write_atomic(path, canonical_json(document).encode())
            return document

    def _ask(self, sort: str, offset: int, limit: int) -> Mapping[str, object]:
        window = {"page[limit]": limit, "page[offset]": offset}
        answer = self._client.get_json("/anime", {"sort": sort, "fields[anime]": _FIELDS} | window | self._filter)
        document = _dict(answer.document)
        if not isinstance(document.get("data"), list):
            raise UserError(f"kitsu: /anime: the page at offset {offset} has no list `data`: {_short(answer.document)}")
        return document


def moment(text: str) -> datetime | None:
    """Returns the instant that an ISO 8601 text names, None if it names none."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None


def _page_of(document: Mapping[str, object], offset: int) -> Page:
    rows = _rows_of(document)
    num_total = _dict(document.get("meta")).get("count")
    if not isinstance(num_total, int):
        raise UserError(f"kitsu: /anime: the page at offset {offset} has no number `meta.count`: {num_total!r}")
    is_last = not rows or offset + PAGE_ROWS >= num_total or not _dict(document.get("links")).get("next")
    return Page(tuple(_title_of(row, offset) for row in rows), not is_last, num_total)


def _title_of(row: object, offset: int) -> Title:
    record = _dict(row)
    identifier = record.get("id")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise UserError(f"kitsu: /anime: the page at offset {offset} has a title with the id {identifier!r}")
    try:
        return _described(identifier, _dict(record.get("attributes")))
    except _MalformedError as error:
        return Title(identifier, problem=str(error))


def _described(identifier: str, attributes: Mapping[str, object]) -> Title:
    titles = {key: _text(names, key) for names in [_object(attributes, "titles")] for key in names}
    names = [_text(attributes, "canonicalTitle"), *(titles[key] for key in sorted(titles))]
    posters = _object(attributes, "posterImage")
    addresses = [(size, posters[size]) for size in POSTER_SIZES if posters.get(size)]
    rating = _text(attributes, "ageRating")
    return Title(
        id=identifier,
        names=tuple(dict.fromkeys(filter(None, names))),
        english=titles.get("en") or titles.get("en_us") or "",
        synopsis=_text(attributes, "synopsis"),
        posters=tuple((size, _text(posters, size)) for size, _ in addresses),
        is_adult=_is_adult(attributes.get("nsfw"), rating),
        age_rating=rating,
        subtype=_text(attributes, "subtype"),
        start_date=_text(attributes, "startDate"),
        updated_at=moment(_text(attributes, "updatedAt")),
    )


def _is_adult(nsfw: object, rating: str) -> bool | None:
    if nsfw is True or rating == "R18":
        return True
    return False if nsfw is False and rating in _DECENT_RATINGS else None


class _MalformedError(ValueError):
    """A record that is not of the documented types; the message names the field."""


def _text(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _MalformedError(f"{key} is {_short(value)}, expected a text or null")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise _MalformedError(f"{key} holds half of a surrogate pair")
    return value


def _object(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = record.get(key)
    if value is not None and not isinstance(value, dict):
        raise _MalformedError(f"{key} is {_short(value)}, expected an object or null")
    return _dict(value)


def _rows_of(document: Mapping[str, object]) -> list[object]:
    rows = document.get("data")
    return rows if isinstance(rows, list) else []


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
