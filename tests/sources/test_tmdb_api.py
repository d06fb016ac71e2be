import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minimagen.errors import UserError
from minimagen.sources.http import ApiClient
from minimagen.sources.services import Endpoint
from minimagen.sources.tmdb_answers import details_question, page_question
from minimagen.sources.tmdb_api import TmdbApi
from minimagen.sources.tmdb_state import ListingState
from tests.simulators.server import Request, Response, Site, running_site

PAGE = {"page": 1, "results": [], "total_pages": 1, "total_results": 0}
QUESTION = page_question({}, "title.asc", 1)


@dataclass(slots=True)
class Fixed:
    """Answers every request alike."""

    status: int = 200
    document: object = None
    prefixes: Sequence[str] = ("/",)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        """Answers."""
        self.asked.append(request.path)
        return Response(self.status, json.dumps(self.document).encode())


@pytest.fixture
def service() -> Fixed:
    return Fixed(document=PAGE)


@pytest.fixture
def site(service: Fixed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(service) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.url.removeprefix("http://"))
        yield site


@pytest.fixture
def api(site: Site, tmp_path: Path) -> Iterator[TmdbApi]:
    endpoint = Endpoint(url=site.url, requests_per_s=1000.0, in_flight=2)
    state = ListingState(tmp_path / "listing/answers.sqlite", known=frozenset({"tmdb:5"}))
    with ApiClient(endpoint, state=tmp_path / "state") as client, TmdbApi(client, state, in_flight=2) as api:
        yield api
    state.close()


@pytest.mark.parametrize(
    ("status", "document", "message"),
    [
        (200, {"success": False, "status_code": 21, "status_message": "Entry not found"}, "refused: Entry not found"),
        (422, {"errors": ["page must be less than or equal to 500"]}, "page must be less than or equal to 500"),
        (400, {"status_code": 22, "status_message": "Invalid page: Pages start at 1"}, "Invalid page"),
        (401, {"status_message": "Suspended API key", "status_code": 10}, "Suspended API key.*settings/api"),
        (200, [], "the answer is list, expected an object"),
        (200, {}, "results is NoneType, expected a list"),
        (200, PAGE | {"results": {"0": 1}}, "results is dict, expected a list"),
        (200, PAGE | {"total_pages": "3"}, "total_pages is '3', expected a number from 0"),
        (200, PAGE | {"total_results": -1}, "total_results is '-1'"),
        (200, PAGE | {"total_results": None}, "total_results is 'None'"),
    ],
)
def test_an_answer_that_is_none_is_told_and_not_kept(
    api: TmdbApi, service: Fixed, status: int, document: object, message: str
) -> None:
    service.status, service.document = status, document
    with pytest.raises(UserError, match=f"TMDB: .*{message}"):
        api.ask(QUESTION)
    service.status, service.document = 200, PAGE

    assert api.ask(QUESTION) == {"num": 0, "total_pages": 1, "total_results": 0}
    assert len(service.asked) == 2


def test_an_entry_that_is_no_film_does_not_hide_the_others(api: TmdbApi, service: Fixed) -> None:
    films = [{"id": 1, "adult": False}, {"id": "2"}, None, {"id": 3, "title": 4}]
    service.document = PAGE | {"results": films, "total_results": 4}

    assert api.ask(QUESTION)["num"] == 4
    assert [film.id for film in api.state.films(None)] == [1]
    assert sorted(detail for _, detail in api.state.odd_entries()) == [
        "NoneType, expected an object",
        "id is '2', expected a number from 1",
        "title is '4', expected a text",
    ]


def test_films_of_earlier_snapshots_are_counted_and_not_listed(api: TmdbApi, service: Fixed) -> None:
    service.document = PAGE | {"results": [{"id": 5}, {"id": 6}]}

    api.ask(QUESTION)

    assert [film.id for film in api.state.films(None)] == [6]
    assert (api.state.num_films(new_only=False), api.state.num_films(new_only=True)) == (2, 1)


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (404, {"success": False, "status_code": 34, "status_message": "Gone."}),
        (404, {"success": False, "status_code": 6, "status_message": "Gone."}),
        (200, {"success": False, "status_code": 21, "status_message": "Gone."}),
    ],
)
def test_a_film_that_the_service_does_not_have_is_an_answer(
    api: TmdbApi, service: Fixed, status: int, document: object
) -> None:
    service.status, service.document = status, document

    assert [api.ask(details_question(7, {})) for _ in range(2)] == [{"missing": "Gone."}] * 2
    assert service.asked == ["/movie/7"]


def test_answers_come_in_the_order_of_the_questions_and_what_was_answered_is_not_asked(
    api: TmdbApi, service: Fixed
) -> None:
    api.ask(page_question({}, "title.asc", 3))
    questions = [(number, page_question({}, "title.asc", number) if number else None) for number in (1, 0, 3, 2)]

    answered = list(api.ask_ahead(questions))

    assert [number for number, _ in answered] == [1, 0, 3, 2]
    assert [record is None for _, record in answered] == [False, True, False, False]
    assert len(service.asked) == 3


def test_no_more_than_is_in_flight_is_asked_ahead(api: TmdbApi, service: Fixed) -> None:
    answers = api.ask_ahead((number, page_question({}, "title.asc", number)) for number in range(1, 100))

    next(answers)
    answers.close()

    assert len(service.asked) <= 2


def test_a_poster_size_that_the_service_does_not_have_is_told(api: TmdbApi, service: Fixed) -> None:
    service.document = {"images": {"secure_base_url": "https://image.tmdb.org/t/p/", "poster_sizes": ["w92", "w500"]}}

    assert api.image_base("w92") == "https://image.tmdb.org/t/p/"
    with pytest.raises(UserError, match=r"no poster size 'w185' \(ingest.tmdb.poster_size\); it has w92, w500"):
        api.image_base("w185")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "images is NoneType"),
        ({"images": {"secure_base_url": 1}}, "images.secure_base_url is '1'"),
        ({"images": {"secure_base_url": "https://a.example/", "poster_sizes": "w92"}}, "images.poster_sizes is 'w92'"),
    ],
)
def test_a_configuration_of_another_shape_is_told(api: TmdbApi, service: Fixed, document: object, message: str) -> None:
    service.document = document

    with pytest.raises(UserError, match=message):
        api.image_base("w92")
