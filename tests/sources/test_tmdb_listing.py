import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pytest

from minimagen.errors import UserError
from minimagen.sources import tmdb_discover, tmdb_slices
from minimagen.sources.tombstones import Graves, with_keys, write_graves
from tests.simulators.tmdb import Tmdb
from tests.sources.tmdb_case import CHECKOUT, SNAPSHOT, TmdbCase, reasons, running_tmdb, searchable

Serve = Callable[[Tmdb], TmdbCase]
IN_FLIGHT = 4


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(running_tmdb(tmp_path, monkeypatch, service))


@pytest.mark.parametrize("max_pages", [1, 2])
def test_a_crowded_day_is_listed_whole_by_language_and_votes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, max_pages: int
) -> None:
    monkeypatch.setattr(tmdb_slices, "MAX_PAGES", max_pages)
    monkeypatch.setattr(tmdb_discover, "MAX_PAGES", max_pages)
    case = serve(Tmdb(num_films=3000, spike=0.95))

    candidates = case.list(released_from="2015-01-01")

    films = [film for film in case.service.films() if film.released and film.released >= date(2015, 1, 1)]
    expected = {f"tmdb:{film.id}" for film in films} & searchable(case.service.films(), SNAPSHOT)
    assert {one.key for one in candidates} == expected
    asked = [request.query for request in case.site.requests]
    assert any("with_original_language" in query for query in asked)
    assert (max_pages == 2) or any("vote_count.lte" in query for query in asked)
    assert max(int(query.get("page", 0)) for query in asked) <= max_pages


def test_what_nothing_divides_is_read_from_both_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmdb_slices, "MAX_PAGES", 2)
    monkeypatch.setattr(tmdb_discover, "MAX_PAGES", 2)
    monkeypatch.setattr(tmdb_discover, "narrow", lambda whole, num_pages, languages: [(whole, num_pages(whole))])
    case = serve(Tmdb(num_films=70))

    candidates = case.list()

    assert {one.key for one in candidates} == searchable(case.service.films(), SNAPSHOT)
    assert [request.query.get("sort_by") for request in case.site.requests[-2:]] == ["title.desc", "title.desc"]


@pytest.mark.parametrize(("spike", "is_short"), [(0.18, True), (0.95, False)])
def test_hardly_a_film_is_missed_if_they_change_places_and_that_is_told(
    serve: Serve, caplog: pytest.LogCaptureFixture, spike: float, is_short: bool
) -> None:
    case = serve(Tmdb(num_films=2000, has_drift=True, spike=spike, seed=3))
    expected = searchable(case.service.films(), SNAPSHOT)

    found = {one.key for one in case.list()}

    assert found <= expected and len(found) >= 0.99 * len(expected)
    assert (len(found) < len(expected)) == is_short
    told = f"the service counts {len(expected)} films, and its pages showed {len(found)} of them"
    assert (told in caplog.text) == is_short


def test_too_many_requests_are_answered_by_waiting(serve: Serve) -> None:
    case = serve(Tmdb(num_films=400))
    case.service.refusals = [{}, {"Retry-After": "1"}]

    candidates = case.list()

    assert {one.key for one in candidates} == searchable(case.service.films(), SNAPSHOT)
    assert case.num_requests() == 1 + -(-len(candidates) // 20) + 2


def test_a_service_that_allows_less_than_is_asked_gives_everything_in_the_end(serve: Serve) -> None:
    case = serve(Tmdb(num_films=400, requests_per_s=15))

    assert {one.key for one in case.list()} == searchable(case.service.films(), SNAPSHOT)


def test_a_killed_listing_goes_on_where_it_stopped_and_ends_the_same(serve: Serve) -> None:
    case = serve(Tmdb(num_films=2000))
    needed = 1 + -(-len(searchable(case.service.films(), SNAPSHOT)) // 20)
    for num_asked in (13, 60):
        _list_and_kill(case, num_asked)

    resumed = case.list()

    assert case.num_requests() <= needed + 2 * IN_FLIGHT
    assert {one.key for one in resumed} == searchable(case.service.films(), SNAPSHOT)
    case.folder.rename(case.root / "resumed")
    assert case.list() == resumed


def _list_and_kill(case: TmdbCase, num_asked: int) -> None:
    """Lists in another process, and kills it once the service has been asked so often."""
    program = (
        "import sys; from pathlib import Path; from minimagen.sources import tmdb\n"
        "from tests.sources.tmdb_case import SNAPSHOT, config_of\n"
        "reads, folder, state = map(Path, sys.argv[1:])\n"
        "tmdb.plan(config_of(), reads=reads, snapshot=SNAPSHOT, folder=folder, state=state)\n"
    )
    places = [case.root / "tmdb.yaml", case.folder, case.state]
    with subprocess.Popen([sys.executable, "-c", program, *map(str, places)], cwd=CHECKOUT) as process:
        while len(case.site.requests) < num_asked and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_what_was_purged_comes_back_as_a_row_without_content(serve: Serve) -> None:
    case = serve(Tmdb(num_films=200))
    keys = sorted(searchable(case.service.films(), SNAPSHOT))[:5]
    write_graves(case.folder, with_keys(Graves({}, None), "2026-01-01", "too_old", keys))

    rows = case.list(caption="tagline")

    purged = [one for one in rows if one.reason == "purged"]
    assert sorted(one.key for one in purged) == keys
    assert all((one.url, one.captions, one.page_url, one.extra) == ("", (), "", "{}") for one in purged)
    assert not {f"/3/movie/{key.removeprefix('tmdb:')}" for key in keys} & {one.path for one in case.site.requests}


def test_an_interrupted_purge_has_to_be_finished_first(serve: Serve) -> None:
    case = serve(Tmdb(num_films=20))
    write_graves(case.folder, Graves({}, "2026-05-01"))

    with pytest.raises(UserError, match="minimagen purge --source tmdb --older-than 2026-05-01"):
        case.plan()

    assert case.site.requests == []


def test_a_listing_of_other_parameters_begins_anew(serve: Serve) -> None:
    case = serve(Tmdb(num_films=400))
    case.list()
    asked = case.num_requests()

    case.list(min_votes=1)

    assert case.num_requests() > asked
    assert reasons(case.list(min_votes=1))[""] < reasons(case.list())[""]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("http://169.254.169.254/t/p/", "169.254.169.254 is not a public address"),
        ("http://[::1]/t/p/", "::1 is not a public address"),
        ("ftp://image.tmdb.org/t/p/", "scheme 'ftp', http or https expected"),
        ("https://image.tmdb.org:8443/t/p/", "port 8443 is neither 80 nor 443"),
        ("https://user:word@image.tmdb.org/t/p/", "credentials in it"),
        ("https://image.tmdb.org/t/p", "expected an address that ends in a slash"),
    ],
)
def test_a_place_of_pictures_that_may_not_be_asked_is_refused(serve: Serve, base: str, message: str) -> None:
    case = serve(Tmdb(num_films=20, image_base=base))

    with pytest.raises(UserError, match="TMDB: ") as caught:
        case.plan()

    assert message in str(caught.value)
    assert case.num_requests() == 1


def test_the_public_place_of_pictures_is_taken_as_it_is(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    case = serve(Tmdb(num_films=20, image_base="https://image.tmdb.org/t/p/"))

    rows = case.list(poster_size="w342")

    assert all(one.url.startswith("https://image.tmdb.org/t/p/w342/p") for one in rows if not one.reason)
    assert "1 pages" in caplog.text
