"""Films as TMDB tells of them, and the candidates they become. Knows no network.

Keys that are not named here are ignored; a film that has a named one in another type than documented is odd, not wrong.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from minimagen.config import TmdbConfig
from minimagen.files import canonical_json
from minimagen.sources.candidates import Candidate

SOURCE = "tmdb"
ATTRIBUTION = "This program uses TMDB and the TMDB APIs but is not endorsed, certified, or otherwise approved by TMDB."
"""The notice that section 3 of TMDB's API Terms of Use asks for, word for word."""
LICENSE = f"TMDB API Terms of Use (machine learning by written permission only, kept 6 months at most). {ATTRIBUTION}"
_FILE_PATH = re.compile(r"/[A-Za-z0-9_-]+\.[A-Za-z0-9]+")
_LARGEST = 2**53


class OddFilmError(ValueError):
    """An entry is not what the service documents; the message says in what."""


@dataclass(frozen=True, slots=True)
class Film:
    """What is kept of a film."""

    id: int
    title: str = ""
    overview: str = ""
    tagline: str = ""
    poster_path: str | None = None
    textless_path: str | None = None
    """The poster without writing that most people voted for."""
    release_date: str = ""
    """ISO date, empty where it is unknown."""
    votes: int = 0
    popularity: float = 0.0
    is_adult: bool = True
    """Also where the service does not say."""
    is_softcore: bool = False
    is_video: bool = False


def film_of(entry: object) -> Film:
    """Returns the film of a search result, of a film's details or of a line of the export.

    Raises:
        OddFilmError: it is none.
    """
    if not isinstance(entry, Mapping):
        raise OddFilmError(f"{type(entry).__name__}, expected an object")
    return Film(
        id=_number(entry, "id", smallest=1),
        title=_text(entry, "title") or _text(entry, "original_title"),
        overview=_text(entry, "overview"),
        tagline=_text(entry, "tagline"),
        poster_path=_text(entry, "poster_path") or None,
        textless_path=_textless(entry.get("images")),
        release_date=_date(entry),
        votes=_number(entry, "vote_count", default=0),
        popularity=_popularity(entry.get("popularity")),
        is_adult=entry.get("adult") is not False,
        is_softcore=entry.get("softcore", False) is not False,
        is_video=entry.get("video", False) is not False,
    )


def unwanted_reason(film: Film) -> str:
    """Returns why a film is not asked for any further, empty if it is: "adult", "softcore" or "video"."""
    if film.is_adult:
        return "adult"
    if film.is_softcore:
        return "softcore"
    return "video" if film.is_video else ""


def filter_reason(film: Film, config: TmdbConfig) -> str:
    """Returns which of the parameters' filters a film does not pass, empty if it passes all.

    Only for films that the search has not filtered.
    """
    if film.votes < config.min_votes:
        return "too_few_votes"
    if not film.release_date:
        return "no_date" if config.released_from or config.released_to else ""
    released = date.fromisoformat(film.release_date)
    is_inside = (config.released_from or date.min) <= released <= (config.released_to or date.max)
    return "" if is_inside else "outside_dates"


def candidate_of(film: Film, config: TmdbConfig, image_base: str) -> Candidate:
    """Returns the row to come of a film: with its poster and caption, or with the reason why it has none."""
    poster = (film.textless_path if config.textless_posters else None) or film.poster_path
    caption = _caption_of(film, config)
    if poster is None:
        return rejected_candidate(film, config, "no_poster")
    if not _FILE_PATH.fullmatch(poster):
        return rejected_candidate(film, config, "bad_url", f"poster path {poster[:80]!a}")
    if not caption:
        return rejected_candidate(film, config, "no_caption", f"no {config.caption} in {config.language}")
    known = {"title": film.title, "release_date": film.release_date, "vote_count": film.votes, "poster_path": poster}
    return Candidate(
        key=key_of(film),
        url=f"{image_base}{config.poster_size}{poster}",
        captions=(caption,),
        page_url=_page_url(film),
        license=LICENSE,
        adult=film.is_adult,
        lang=config.language,
        extra=canonical_json(known),
    )


def rejected_candidate(film: Film, config: TmdbConfig, reason: str, detail: str = "") -> Candidate:
    """Returns the row of a film that is not asked for: no more than what names it."""
    adult = film.is_adult and reason == "adult"
    return Candidate(key_of(film), "", (), _page_url(film), LICENSE, adult, config.language, "{}", reason, detail)


def key_of(film: Film) -> str:
    """Returns the key of a film's row."""
    return f"{SOURCE}:{film.id}"


def _page_url(film: Film) -> str:
    return f"https://www.themoviedb.org/movie/{film.id}"


def _caption_of(film: Film, config: TmdbConfig) -> str:
    if config.caption == "tagline":
        return film.tagline.strip()
    if config.caption == "overview":
        return film.overview.strip()
    return f"{film.title.strip()}: {film.overview.strip()}" if film.title.strip() and film.overview.strip() else ""


def _textless(images: object) -> str | None:
    """Returns the path of the poster whose language is null, the best of several."""
    posters = images.get("posters") if isinstance(images, Mapping) else None
    textless = [
        (_number(poster, "vote_count", default=0), _popularity(poster.get("vote_average")), _text(poster, "file_path"))
        for poster in (posters if isinstance(posters, list) else [])
        if isinstance(poster, Mapping) and poster.get("iso_639_1", "") is None
    ]
    return max(textless)[2] or None if textless else None


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise OddFilmError(f"{key} is {str(value)[:40]!a}, expected a text")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise OddFilmError(f"{key} has half of a surrogate pair")
    return value


def _number(entry: Mapping[str, object], key: str, *, smallest: int = 0, default: int | None = None) -> int:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value < _LARGEST:
        raise OddFilmError(f"{key} is {str(value)[:40]!a}, expected a number from {smallest}")
    return value


def _popularity(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return 0.0
    return float(value)


def _date(entry: Mapping[str, object]) -> str:
    text = _text(entry, "release_date")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return ""
