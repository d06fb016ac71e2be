from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from minimagen.sources.tmdb_slices import MAX_PAGES, Slice, divide, narrow

LAST = date(2026, 10, 1)
LANGUAGES = ("de", "en", "ja")
WHOLE = Slice(None, LAST)


class Catalogue:
    """A million films as columns, and a count of how often it was asked."""

    def __init__(self, num_films: int, spike: float) -> None:
        draw = np.random.default_rng(0)
        days = (LAST - date(1850, 1, 1)).days
        self.days = draw.integers(0, days + 1, num_films)
        self.days[draw.random(num_films) < spike] = (date(2020, 1, 1) - date(1850, 1, 1)).days
        self.languages = draw.choice(len(LANGUAGES), num_films, p=[0.1, 0.7, 0.2])
        self.votes = np.where(draw.random(num_films) < 0.05, 0, draw.integers(1, 400, num_films))
        self.num_asked = 0

    def ids(self, one: Slice) -> np.ndarray:
        """Returns the films of a slice."""
        first = 0 if one.first is None else (one.first - date(1850, 1, 1)).days
        found = (self.days >= first) & (self.days <= (one.last - date(1850, 1, 1)).days) & (self.votes >= one.min_votes)
        if one.language is not None:
            found &= self.languages == LANGUAGES.index(one.language)
        if one.max_votes is not None:
            found &= self.votes <= one.max_votes
        return np.flatnonzero(found)

    def num_pages(self, one: Slice) -> int:
        """Answers as the service's first page does."""
        self.num_asked += 1
        return -(-len(self.ids(one)) // 20)


def _languages() -> tuple[str, ...]:
    return LANGUAGES


def test_a_million_films_are_in_exactly_one_slice_each() -> None:
    catalogue = Catalogue(1_000_000, spike=0.18)

    slices = list(narrow(WHOLE, catalogue.num_pages, _languages))

    assert all(pages <= MAX_PAGES for _, pages in slices)
    listed = np.concatenate([catalogue.ids(one) for one, _ in slices])
    assert len(listed) == len(np.unique(listed)) == 1_000_000
    assert catalogue.num_asked <= 2.5 * len(slices) <= 800


def test_what_fits_is_asked_once_and_not_divided() -> None:
    catalogue = Catalogue(9_000, spike=0.2)

    assert list(narrow(WHOLE, catalogue.num_pages, _languages)) == [(WHOLE, 450)]
    assert catalogue.num_asked == 1


def test_films_before_the_first_film_ever_are_in_the_first_slice() -> None:
    catalogue = Catalogue(60_000, spike=0.0)

    slices = [one for one, _ in narrow(WHOLE, catalogue.num_pages, _languages)]

    assert slices[0].first is None
    assert len(slices) > 6
    assert all(before.last + timedelta(days=1) == after.first for before, after in pairwise(slices))


def test_a_day_is_divided_by_language_and_then_by_votes() -> None:
    day = Slice(LAST, LAST)

    languages = divide(day, _languages)
    votes = divide(languages[0], _languages)

    assert [one.language for one in languages] == list(LANGUAGES)
    assert [(one.min_votes, one.max_votes) for one in votes] == [(0, 0), (1, None)]
    assert [(one.min_votes, one.max_votes) for one in divide(votes[1], _languages)] == [(1, 2), (3, None)]


def test_one_number_of_votes_of_one_day_is_yielded_though_it_does_not_fit() -> None:
    def num_pages(one: Slice) -> int:
        return 900 if one.min_votes == 0 else 10

    day = Slice(LAST, LAST, language="en", max_votes=4)

    assert list(narrow(day, num_pages, _languages)) == [
        (Slice(LAST, LAST, "en", 0, 0), 900),
        (Slice(LAST, LAST, "en", 1, 1), 10),
        (Slice(LAST, LAST, "en", 2, 2), 10),
        (Slice(LAST, LAST, "en", 3, 4), 10),
    ]


def test_endless_pages_end() -> None:
    day = Slice(LAST, LAST, language="en")

    slices = [one for one, _ in narrow(day, _too_many, _languages) if one.max_votes is None]

    assert [one.max_votes for one in slices] == [None]


def _too_many(one: Slice) -> int:
    return MAX_PAGES + 1 if one.max_votes is None else 1


@pytest.mark.parametrize(
    ("one", "query"),
    [
        (WHOLE, {"primary_release_date.lte": "2026-10-01"}),
        (
            Slice(LAST, LAST, "en", 5, 9),
            {
                "primary_release_date.gte": "2026-10-01",
                "primary_release_date.lte": "2026-10-01",
                "with_original_language": "en",
                "vote_count.gte": 5,
                "vote_count.lte": 9,
            },
        ),
    ],
)
def test_a_slice_is_asked_for_by_the_parameters_of_the_search(one: Slice, query: object) -> None:
    assert one.query() == query
