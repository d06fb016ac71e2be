import json

import pytest

from minimagen.sources.tmdb_films import (
    Film,
    OddFilmError,
    candidate_of,
    film_of,
    filter_reason,
    unwanted_reason,
)
from tests.sources.tmdb_case import config_of

BASE = "https://image.tmdb.org/t/p/"
ENTRY = {"id": 7, "adult": False, "title": "A Film", "overview": "A plot.", "poster_path": "/a1.jpg", "vote_count": 3}
FILM = film_of(ENTRY)


def test_unknown_and_missing_keys_are_ignored() -> None:
    film = film_of({"id": 7, "new": [1, {"key": None}]})

    assert film == Film(id=7)
    assert unwanted_reason(film) == "adult", "what the service does not say counts as adult"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"adult": True}, "adult"),
        ({"adult": None}, "adult"),
        ({"adult": "false"}, "adult"),
        ({"softcore": True}, "softcore"),
        ({"video": True}, "video"),
    ],
)
def test_what_no_one_should_see_is_named(change: dict[str, object], reason: str) -> None:
    assert unwanted_reason(film_of(ENTRY | change)) == reason


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"id": None}, "id is 'None', expected a number from 1"),
        ({"id": 0}, "id is '0'"),
        ({"id": "7"}, "id is '7'"),
        ({"id": True}, "id is 'True'"),
        ({"id": 2**63}, "id is '9223372036854775808'"),
        ({"title": 12}, "title is '12', expected a text"),
        ({"overview": ["A plot."]}, "overview is"),
        ({"poster_path": {}}, "poster_path is"),
        ({"vote_count": -1}, "vote_count is '-1'"),
        ({"vote_count": 1.5}, "vote_count is '1.5'"),
        ({"overview": json.loads('"\\ud800"')}, "overview has half of a surrogate pair"),
    ],
)
def test_an_entry_of_another_shape_is_odd(change: dict[str, object], culprit: str) -> None:
    with pytest.raises(OddFilmError, match=culprit.replace("(", r"\(")):
        film_of(ENTRY | change)


@pytest.mark.parametrize("entry", [None, [], "film", 7])
def test_what_is_no_object_is_odd(entry: object) -> None:
    with pytest.raises(OddFilmError, match="expected an object"):
        film_of(entry)


@pytest.mark.parametrize("value", ["", None, "soon", "2026-13-01", "20261301x"])
def test_a_date_that_is_none_is_unknown(value: object) -> None:
    assert film_of(ENTRY | {"release_date": value}).release_date == ""


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "9", None, True])
def test_a_popularity_that_is_none_is_zero(value: object) -> None:
    assert film_of(ENTRY | {"popularity": value}).popularity == 0.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"poster_path": None}, "no_poster"),
        ({"poster_path": ""}, "no_poster"),
        ({"poster_path": "//evil.example/x.jpg"}, "bad_url"),
        ({"poster_path": "/../../x.jpg"}, "bad_url"),
        ({"poster_path": "/a.jpg?x=1"}, "bad_url"),
        ({"poster_path": "@evil.example/x.jpg"}, "bad_url"),
        ({"overview": "  "}, "no_caption"),
    ],
)
def test_a_film_without_poster_or_caption_is_a_row_with_a_reason(change: dict[str, object], reason: str) -> None:
    row = candidate_of(film_of(ENTRY | change), config_of(), BASE)

    assert (row.key, row.reason, row.url, row.captions, row.extra) == ("tmdb:7", reason, "", (), "{}")


def test_the_textless_poster_that_most_voted_for_is_taken() -> None:
    posters = [
        {"iso_639_1": "en", "file_path": "/titled.jpg", "vote_count": 99, "vote_average": 9},
        {"iso_639_1": None, "file_path": "/few.jpg", "vote_count": 2, "vote_average": 10},
        {"iso_639_1": None, "file_path": "/many.jpg", "vote_count": 8, "vote_average": 5.1},
        {"file_path": "/no_language_said.jpg", "vote_count": 100},
    ]
    film = film_of(ENTRY | {"images": {"posters": posters}})

    assert candidate_of(film, config_of(textless_posters=True), BASE).url == f"{BASE}w92/many.jpg"
    assert candidate_of(film, config_of(), BASE).url == f"{BASE}w92/a1.jpg"
    assert candidate_of(FILM, config_of(textless_posters=True), BASE).url == f"{BASE}w92/a1.jpg"


@pytest.mark.parametrize(
    ("film", "changes", "reason"),
    [
        ({"vote_count": 9}, {"min_votes": 10}, "too_few_votes"),
        ({"vote_count": 10}, {"min_votes": 10}, ""),
        ({"release_date": "1999-12-31"}, {"released_from": "2000-01-01"}, "outside_dates"),
        ({"release_date": "2000-01-01"}, {"released_from": "2000-01-01"}, ""),
        ({"release_date": "2000-01-02"}, {"released_to": "2000-01-01"}, "outside_dates"),
        ({"release_date": "2099-01-01"}, {}, ""),
        ({"release_date": ""}, {"released_to": "2000-01-01"}, "no_date"),
        ({"release_date": ""}, {}, ""),
    ],
)
def test_filters_of_the_parameters_are_named(film: dict[str, object], changes: dict[str, object], reason: str) -> None:
    assert filter_reason(film_of(ENTRY | film), config_of(**changes)) == reason
