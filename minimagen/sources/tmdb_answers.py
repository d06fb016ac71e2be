"""What is asked of TMDB's API, version 3, and what of each answer is kept. Asks nothing itself."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from minimagen.sources.api_answers import ApiAnswer, message_of
from minimagen.sources.tmdb_films import Film, OddFilmError, film_of

_NOT_FOUND = frozenset({6, 21, 34})


class OddAnswerError(ValueError):
    """An answer is not of the documented shape."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of an answer is worth keeping."""

    record: dict[str, object]
    films: tuple[tuple[Film, float], ...] = ()
    """Each with its weight: its votes."""
    odd: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and how its answer is read."""

    path: str
    params: Mapping[str, str | int]
    read: Callable[[object], Kept]
    """Raises OddAnswerError."""
    may_be_missing: bool = False
    """What is asked for may be unknown to the service; the record then is {"missing": why}."""

    @property
    def request(self) -> str:
        """The question as a text."""
        return f"{self.path}?{urlencode(sorted(self.params.items()))}"


def configuration_question() -> Question:
    """Returns the question for the addresses and sizes of pictures; its record has base and sizes."""
    return Question("/configuration", {}, _read_configuration)


def languages_question() -> Question:
    """Returns the question for all languages; its record has codes."""
    return Question("/configuration/languages", {}, _read_languages)


def page_question(query: Mapping[str, str | int], sort_by: str, number: int) -> Question:
    """Returns the question for one page of the search, 20 films; its record has total_results, total_pages and num."""
    params = dict(query) | {"include_adult": "false", "include_video": "false", "sort_by": sort_by, "page": number}
    return Question("/discover/movie", params, _read_page)


def details_question(number: int, params: Mapping[str, str | int]) -> Question:
    """Returns the question for one film; its record is a ``Film``, or has "odd" or "missing"."""
    return Question(f"/movie/{number}", params, _read_details, may_be_missing=True)


def keep(question: Question, answer: ApiAnswer) -> Kept:
    """Returns what is kept of an answer.

    Raises:
        OddAnswerError: it is an error in the disguise of a success, or not of the documented shape.
    """
    document = answer.document
    has_failed = isinstance(document, Mapping) and document.get("success", True) is False
    if question.may_be_missing and (answer.status == 404 or (has_failed and _code_of(document) in _NOT_FOUND)):
        return Kept({"missing": message_of(document) or f"status {answer.status}"})
    if has_failed:
        raise OddAnswerError(f"refused: {message_of(document)} (code {_code_of(document)})")
    return question.read(document)


def _code_of(document: object) -> int | None:
    code = document.get("status_code") if isinstance(document, Mapping) else None
    return code if isinstance(code, int) else None


def _read_configuration(document: object) -> Kept:
    images = _object(document, "the answer").get("images")
    base, sizes = _object(images, "images").get("secure_base_url"), _object(images, "images").get("poster_sizes")
    if not isinstance(base, str) or not base.endswith("/"):
        raise OddAnswerError(f"images.secure_base_url is {str(base)[:80]!a}, expected an address that ends in a slash")
    if not isinstance(sizes, list) or not all(isinstance(size, str) for size in sizes):
        raise OddAnswerError(f"images.poster_sizes is {str(sizes)[:80]!a}, expected a list of texts")
    return Kept({"base": base, "sizes": sizes})


def _read_languages(document: object) -> Kept:
    entries = document if isinstance(document, list) else []
    codes = [_object(entry, "an entry").get("iso_639_1") for entry in entries]
    texts = {code for code in codes if isinstance(code, str) and code}
    if not texts or len(texts) != len(codes):
        raise OddAnswerError(f"expected languages with different codes, found {str(codes)[:80]!a}")
    return Kept({"codes": sorted(texts)})


def _read_page(document: object) -> Kept:
    page = _object(document, "the answer")
    entries = page.get("results")
    if not isinstance(entries, list):
        raise OddAnswerError(f"results is {type(entries).__name__}, expected a list")
    record: dict[str, object] = {"num": len(entries)}
    for name in ("total_results", "total_pages"):
        total = page.get(name)
        if isinstance(total, bool) or not isinstance(total, int) or total < 0:
            raise OddAnswerError(f"{name} is {str(total)[:40]!a}, expected a number from 0")
        record[name] = total
    films: list[tuple[Film, float]] = []
    odd: list[tuple[str, str]] = []
    for entry in entries:
        try:
            film = film_of(entry)
            films.append((film, float(film.votes)))
        except OddFilmError as error:
            odd.append((json.dumps(entry, sort_keys=True)[:2000], str(error)))
    return Kept(record, tuple(films), tuple(odd))


def _read_details(document: object) -> Kept:
    try:
        return Kept(asdict(film_of(document)))
    except OddFilmError as error:
        return Kept({"odd": str(error)})


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise OddAnswerError(f"{name} is {type(value).__name__}, expected an object")
    return value
