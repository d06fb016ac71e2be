from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import pytest

from minimagen.errors import UserError
from tests.simulators.tmdb import Tmdb
from tests.simulators.tmdb_films import START, Film
from tests.sources.tmdb_case import TmdbCase, reasons, running_tmdb

Serve = Callable[[Tmdb], TmdbCase]
EXPORT = {"listing": "export"}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(running_tmdb(tmp_path, monkeypatch, service))


def _is_proper(film: Film) -> bool:
    return not (film.adult or film.softcore or film.video)


def test_every_film_of_the_export_has_a_row_dated_or_not(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300))
    films = case.service.films()

    rows = case.list(**EXPORT)

    keys = {one.key for one in rows}
    assert keys >= {f"tmdb:{film.id}" for film in films}
    assert len(rows) == len(keys) == len(films) + 1, "one line of the file is no film"
    usable = {f"tmdb:{film.id}" for film in films if _is_proper(film) and film.has_poster and film.has_overview}
    assert {one.key for one in rows if not one.reason} == usable
    assert usable & {f"tmdb:{film.id}" for film in films if film.released is None}


def test_a_line_that_is_no_film_is_counted_with_what_is_wrong_in_it(serve: Serve) -> None:
    case = serve(Tmdb(num_films=30))

    rows = case.list(**EXPORT)

    assert reasons(rows)["malformed"] == 1
    odd = next(one for one in rows if one.reason == "malformed")
    assert odd.key.startswith("tmdb:malformed:") and "Unterminated string" in odd.detail


def test_films_that_the_list_says_no_one_should_see_cost_no_request(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300))

    rows = case.list(**EXPORT)

    shunned = [film for film in case.service.films() if film.adult or film.video]
    assert reasons(rows)["adult"] + reasons(rows)["video"] == len(shunned)
    assert case.num_requests("/3/movie/") == 300 - len(shunned)


def test_a_number_takes_the_most_popular_films_and_as_many_requests(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300))

    rows = [one for one in case.list(max_films=50, **EXPORT) if one.reason != "malformed"]

    popular = sorted(case.service.films(), key=lambda film: (-film.popularity, film.id))[:50]
    assert [one.key for one in rows] == [f"tmdb:{film.id}" for film in popular]
    assert case.num_requests("/3/movie/") <= 50


def test_filters_are_applied_to_the_details(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300))

    found = reasons(case.list(min_votes=10, released_from="1980-01-01", **EXPORT))

    proper = [film for film in case.service.films() if _is_proper(film)]
    voted = [film for film in proper if film.votes >= 10]
    assert found["too_few_votes"] == len(proper) - len(voted)
    assert found["no_date"] == sum(film.released is None for film in voted)
    assert found["outside_dates"] == sum(film.released is not None and film.released.year < 1980 for film in voted)


def test_the_newest_export_that_is_there_is_read(serve: Serve) -> None:
    case = serve(Tmdb(num_films=30))
    case.service.days_without_export = {START, START - timedelta(days=1)}

    case.plan(**EXPORT)

    assert case.written(**EXPORT).watermark == {"export": "2026-09-29"}
    asked = [request.path for request in case.site.requests if request.path.startswith("/p/exports/")]
    assert asked == [f"/p/exports/movie_ids_{day}_2026.json.gz" for day in ("10_01", "09_30", "09_29")]


def test_a_day_whose_export_is_gone_is_told(serve: Serve) -> None:
    case = serve(Tmdb(num_films=30, today=date(2027, 6, 1)))

    with pytest.raises(UserError, match="TMDB has no export of 2026-10-01 or the 7 days before it: exports are kept"):
        case.plan(**EXPORT)


def test_a_damaged_export_is_told_and_asked_for_again_the_next_time(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300, is_export_truncated=True))
    with pytest.raises(UserError, match="TMDB: the export of 2026-10-01 is damaged"):
        case.plan(**EXPORT)
    case.service.is_export_truncated = False

    assert len(case.list(**EXPORT)) == 301


def test_the_token_is_not_shown_to_the_host_of_the_exports(serve: Serve) -> None:
    case = serve(Tmdb(num_films=30))

    case.plan(**EXPORT)

    headers = [request.headers for request in case.site.requests if request.path.startswith("/p/exports/")]
    assert len(headers) == 1 and "authorization" not in headers[0]


def test_a_later_snapshot_asks_for_ids_that_are_new_alone(serve: Serve) -> None:
    case = serve(Tmdb(num_films=300))
    first = {one.key for one in case.list(**EXPORT)}
    asked = case.num_requests("/3/movie/")
    case.service.advance(2)

    second = {one.key for one in case.list("2026-10-03", **EXPORT) if one.reason != "malformed"}

    assert second == {f"tmdb:{film.id}" for film in case.service.films()} - first
    assert case.num_requests("/3/movie/") - asked <= len(second) == 80


def test_a_listing_that_was_stopped_reads_the_export_once(serve: Serve) -> None:
    case = serve(Tmdb(num_films=60))
    lost = next(film for film in case.service.films() if film.popularity < 1 and _is_proper(film))
    case.service.broken = {lost.id}
    with pytest.raises(UserError, match=f"/movie/{lost.id}: status 400"):
        case.plan(**EXPORT)
    asked, case.service.broken = case.num_requests("/3/movie/"), set()

    case.plan(**EXPORT)

    assert case.num_requests("/p/exports/") == 1
    assert case.num_requests("/3/movie/") <= 60 + 5 and asked > 5
