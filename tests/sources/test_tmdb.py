import base64
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.errors import UserError
from minimagen.sources import tmdb
from tests.simulators.tmdb import TOKEN, Tmdb
from tests.simulators.tmdb_films import FILMS_PER_DAY
from tests.sources.tmdb_case import SNAPSHOT, TmdbCase, reasons, running_tmdb, searchable

Serve = Callable[[Tmdb], TmdbCase]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(running_tmdb(tmp_path, monkeypatch, service))


def test_every_film_of_a_large_catalogue_is_listed_once_with_hardly_a_request_too_many(serve: Serve) -> None:
    case = serve(Tmdb(num_films=12_000))
    expected = searchable(case.service.films(), SNAPSHOT)
    assert len(expected) > 10_000, "one search would show them all"

    candidates = case.list()

    assert len(candidates) == len(expected)
    assert {one.key for one in candidates} == expected
    assert case.num_requests() <= 1.02 * len(expected) / 20 + 5


def test_a_row_says_where_the_poster_is_and_under_which_terms(serve: Serve) -> None:
    case = serve(Tmdb(num_films=40))

    row = next(one for one in case.list() if not one.reason)

    film = next(film for film in case.service.films() if row.key == f"tmdb:{film.id}")
    assert row.url == f"{case.site.url}/t/p/w92{film.poster}"
    assert row.captions == (film.overview,)
    assert row.page_url == f"https://www.themoviedb.org/movie/{film.id}"
    assert tmdb.ATTRIBUTION in row.license == tmdb.LICENSE
    assert (row.adult, row.lang) == (False, "en-US")
    assert row.extra == (
        f'{{"poster_path":"{film.poster}","release_date":"{film.released}","title":"{film.title}",'
        f'"vote_count":{film.votes}}}'
    )


def test_films_that_cannot_be_used_are_counted_by_reason(serve: Serve) -> None:
    case = serve(Tmdb(num_films=2000))
    shown = searchable(case.service.films(), SNAPSHOT)
    films = [film for film in case.service.films() if f"tmdb:{film.id}" in shown]
    proper = [film for film in films if not film.adult and not film.softcore]

    found = reasons(case.list())

    assert found == {
        "": sum(film.has_poster and film.has_overview for film in proper),
        "adult": sum(film.adult for film in films),
        "softcore": sum(film.softcore and not film.adult for film in films),
        "no_poster": sum(not film.has_poster for film in proper),
        "no_caption": sum(film.has_poster and not film.has_overview for film in proper),
    }


@pytest.mark.parametrize("caption", ["overview", "tagline", "title_and_overview"])
def test_the_caption_is_what_the_parameters_say(serve: Serve, caption: str) -> None:
    case = serve(Tmdb(num_films=60))
    films = {f"tmdb:{film.id}": film for film in case.service.films()}

    rows = [one for one in case.list(caption=caption) if not one.reason]

    texts = {
        "overview": lambda film: film.overview,
        "tagline": lambda film: film.tagline,
        "title_and_overview": lambda film: f"{film.title}: {film.overview}",
    }
    assert rows and all(one.captions == (texts[caption](films[one.key]),) for one in rows)
    assert (case.num_requests("/3/movie/") > 0) == (caption == "tagline")


def test_a_poster_without_writing_is_preferred_where_there_is_one(serve: Serve) -> None:
    case = serve(Tmdb(num_films=60))
    films = {f"tmdb:{film.id}": film for film in case.service.films()}

    rows = [one for one in case.list(textless_posters=True) if not one.reason]

    assert all(one.url.endswith(str(films[one.key].textless or films[one.key].poster)) for one in rows)
    assert any(films[one.key].textless for one in rows)
    details = [request for request in case.site.requests if request.path.startswith("/3/movie/")]
    assert all(request.query["include_image_language"] == "en,null" for request in details)


def test_details_that_the_service_does_not_have_are_counted(serve: Serve) -> None:
    case = serve(Tmdb(num_films=60))
    with_poster = [film.id for film in case.service.films() if film.has_poster and not film.adult and not film.softcore]
    case.service.gone, case.service.unsuccessful = set(with_poster[:3]), {with_poster[5]}

    rows = case.list(caption="tagline")

    lost = {one.key: one.detail for one in rows if one.reason == "not_found"}
    assert set(lost) <= {f"tmdb:{number}" for number in [*with_poster[:3], with_poster[5]]} and len(lost) >= 3
    assert "Entry not found" in lost[f"tmdb:{with_poster[5]}"]


def test_a_small_number_takes_the_most_voted_films_and_few_requests(serve: Serve) -> None:
    case = serve(Tmdb(num_films=12_000))
    shown = searchable(case.service.films(), SNAPSHOT)
    votes = sorted((film.votes for film in case.service.films() if f"tmdb:{film.id}" in shown), reverse=True)

    rows = case.list(max_films=300)

    by_key = {f"tmdb:{film.id}": film.votes for film in case.service.films()}
    assert [by_key[one.key] for one in rows] == votes[:300]
    assert case.num_requests() == 1 + 300 // 20


def test_votes_and_dates_limit_the_list(serve: Serve) -> None:
    case = serve(Tmdb(num_films=2000))

    rows = case.list(min_votes=50, released_from="1990-01-01", released_to="1999-12-31")

    shown = searchable(case.service.films(), "1999-12-31")
    voted = [film for film in case.service.films() if f"tmdb:{film.id}" in shown and film.votes >= 50]
    dated = [film for film in voted if film.released is not None and film.released.year >= 1990]
    assert {one.key for one in rows} == {f"tmdb:{film.id}" for film in dated}


def test_a_finished_list_is_never_asked_for_again(serve: Serve) -> None:
    case = serve(Tmdb(num_films=100))
    jobs = case.plan()
    asked = len(case.site.requests)
    shutil.rmtree(case.root / "runs")

    assert case.plan() == jobs
    assert len(case.site.requests) == asked


def test_answers_are_forgotten_once_the_list_is_written(serve: Serve) -> None:
    case = serve(Tmdb(num_films=100))

    case.plan()

    assert [path for path in case.state.rglob("*") if path.is_file()] == []


def test_a_later_snapshot_asks_for_what_is_new_alone(serve: Serve) -> None:
    case = serve(Tmdb(num_films=4000))
    first = {one.key for one in case.list()}
    asked = case.num_requests()
    case.service.advance(5)

    second = case.list("2026-10-06")

    assert case.num_requests() - asked <= 0.1 * asked
    new = searchable(case.service.films(), "2026-10-06") - first
    assert {one.key for one in second} <= new
    assert len(second) >= 0.9 * 5 * FILMS_PER_DAY
    since = {f"tmdb:{film.id}" for film in case.service.films() if film.released and film.released.year == 2026}
    assert {one.key for one in second} >= new & since


def test_jobs_of_a_later_snapshot_begin_with_those_of_the_earlier_ones(serve: Serve) -> None:
    case = serve(Tmdb(num_films=100))
    first = case.plan()
    case.service.advance(1)

    second = case.plan("2026-10-02")

    assert second[: len(first)] == first
    assert [job.name for job in second] == ["2026-10-01-00000", "2026-10-02-00000"]


def test_without_permission_nothing_is_asked_and_the_clause_is_named(serve: Serve) -> None:
    case = serve(Tmdb(num_films=20))

    with pytest.raises(ConfigError, match=r"i_have_written_permission.*section 1\.C.*sales@themoviedb\.org"):
        case.plan(i_have_written_permission=False)

    assert case.site.requests == []


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "TMDB_TOKEN is not set; the API Read Access Token.*themoviedb.org/settings/api"),
        ("0123456789abcdef0123456789abcdef", "TMDB_TOKEN holds an API key of 32 digits, expected a token"),
    ],
)
def test_without_a_token_nothing_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    case = serve(Tmdb(num_films=20))
    monkeypatch.setenv("TMDB_TOKEN", token)

    with pytest.raises(ConfigError, match=message):
        case.plan()

    assert case.site.requests == []


def test_a_refused_token_is_told_at_once_and_not_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    case = serve(Tmdb(num_films=20))
    monkeypatch.setenv("TMDB_TOKEN", "SEKRET.not.a.token")

    with pytest.raises(UserError, match=r"TMDB_TOKEN was refused.*themoviedb\.org/settings/api") as caught:
        case.plan()

    assert "You must be granted a valid key" in str(caught.value)
    assert "SEKRET" not in str(caught.value) and len(case.site.requests) == 1


def test_a_snapshot_that_is_no_date_is_refused(serve: Serve) -> None:
    case = serve(Tmdb(num_films=20))

    with pytest.raises(ConfigError, match=r"ingest\.snapshot is 'first', expected a date like"):
        case.plan("first")

    assert case.site.requests == []


def test_the_token_stands_in_no_file_and_no_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    case = serve(Tmdb(num_films=100))
    case.service.refusals = [{"Retry-After": "1"}]

    case.plan(caption="tagline")

    secret = TOKEN.encode()
    spellings = [secret, base64.b64encode(secret), secret.hex().encode(), secret[::-1], TOKEN.encode("utf-16-le")]
    files = [path for path in case.root.rglob("*") if path.is_file()]
    written = [path.read_bytes() for path in files] + [caplog.text.encode()]
    assert len(files) >= 3
    assert not any(spelling in content for spelling in spellings for content in written)
