"""Films by TMDB's search: all that a range of dates holds, or those that most people voted for.

Knows how the search's pages are read; what is asked goes through ``TmdbApi``, what is found is in its state.
"""

import logging
from collections.abc import Mapping
from contextlib import closing

from minimagen.sources.tmdb_answers import page_question
from minimagen.sources.tmdb_api import TmdbApi
from minimagen.sources.tmdb_slices import MAX_PAGES, Slice, narrow

PAGE_FILMS = 20
MAX_LISTED = MAX_PAGES * PAGE_FILMS
"""Films that one search shows."""
BY_TITLE = ("title.asc", "title.desc")
"""Titles keep their places while a listing goes on; popularity does not, and dates leave a day's films unordered."""
_BY_VOTES = "vote_count.desc"

logger = logging.getLogger(__name__)


def list_all(api: TmdbApi, whole: Slice, language: str) -> None:
    """Has every film of ``whole`` kept; says so if there are fewer than the service counts.

    The page that tells how large a slice is counts as its first.

    Raises:
        UserError: the service refuses.
    """

    def num_pages(one: Slice) -> int:
        return _number(api.ask(page_question(one.query() | {"language": language}, BY_TITLE[0], 1)), "total_pages")

    for one, pages in narrow(whole, num_pages, api.languages):
        query = one.query() | {"language": language}
        logger.info("tmdb: %s: %d pages; %d films so far", one, pages, api.state.num_films(new_only=False))
        _read_pages(api, query, BY_TITLE[0], 2, min(pages, MAX_PAGES))
        if pages > MAX_PAGES:
            _read_pages(api, query, BY_TITLE[1], 1, min(pages - MAX_PAGES + 1, MAX_PAGES))
    first = api.ask(page_question(whole.query() | {"language": language}, BY_TITLE[0], 1))
    counted, listed = _number(first, "total_results"), api.state.num_films(new_only=False)
    if listed < counted:
        logger.warning("tmdb: the service counts %d films, and its pages showed %d of them", counted, listed)


def list_most_voted(api: TmdbApi, whole: Slice, language: str, number: int) -> None:
    """Has as many new films of ``whole`` kept as are asked for, or all that 500 pages show; most votes first.

    Raises:
        UserError: the service refuses.
    """
    query = whole.query() | {"language": language}
    pages = min(_number(api.ask(page_question(query, _BY_VOTES, 1)), "total_pages"), MAX_PAGES)
    read = 1
    while read < pages and (missing := number - api.state.num_films(new_only=True)) > 0:
        last = min(read + -(-missing // PAGE_FILMS), pages)
        if not _read_pages(api, query, _BY_VOTES, read + 1, last):
            break
        read = last


def _read_pages(api: TmdbApi, query: Mapping[str, str | int], sort_by: str, first: int, last: int) -> bool:
    """Reads pages up to an empty one; returns whether there was none."""
    questions = ((number, page_question(query, sort_by, number)) for number in range(first, last + 1))
    with closing(api.ask_ahead(questions)) as pages:
        return all(record is not None and _number(record, "num") > 0 for _, record in pages)


def _number(record: Mapping[str, object], key: str) -> int:
    value = record[key]
    assert isinstance(value, int), "pages are kept with their numbers"
    return value
