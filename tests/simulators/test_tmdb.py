import io
import json
from datetime import timedelta

import pytest
from PIL import Image

from tests.simulators.server import Request, Response
from tests.simulators.tmdb import START, TOKEN, Tmdb
from tests.simulators.tmdb_films import BACKGROUNDS, COLOURS, FILMS_PER_DAY

SERVICE = Tmdb(num_films=300)
BEARER = {"authorization": f"Bearer {TOKEN}"}
FILM = next(film for film in SERVICE.films() if film.has_textless and film.id % 50 != 7)


def _get(path: str, query: dict[str, str] | None = None, service: Tmdb = SERVICE, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.answer(Request("GET", path, query or {}, BEARER | names, b"", "http://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/3/authentication", {}, 200, 1),
        ("/3/nonsense", {}, 404, 34),
        ("/3/movie/3", {}, 404, 34),
        (f"/3/movie/{FILM.id}", {"append_to_response": ",".join("a" * 21)}, 400, 27),
        ("/3/discover/movie", {"page": "0"}, 400, 22),
        ("/3/discover/movie", {"page": "-1"}, 400, 22),
        ("/3/discover/movie", {"page": "x"}, 400, 22),
        ("/3/discover/movie", {"page": "501"}, 400, 22),
        ("/3/discover/movie", {"primary_release_date.gte": "1990-13-01"}, 400, 23),
    ],
)
def test_it_answers_with_the_codes_of_the_real_one(path: str, query: dict[str, str], status: int, code: int) -> None:
    response = _get(path, query)

    assert (response.status, json.loads(response.body)["status_code"]) == (status, code)


def test_the_older_shape_of_errors_exists_too() -> None:
    response = _get("/3/discover/movie", {"page": "502"})

    assert response.status == 422
    assert json.loads(response.body) == {"errors": ["page must be less than or equal to 500"]}


@pytest.mark.parametrize("path", ["/3/configuration", "/3/nonsense"])
def test_without_the_token_everything_is_refused(path: str) -> None:
    response = _get(path, authorization="Bearer other")

    assert (response.status, json.loads(response.body)["status_code"]) == (401, 7)


def test_pages_beyond_500_are_counted_and_not_shown() -> None:
    document = json.loads(_get("/3/discover/movie", service=Tmdb(num_films=10_500)).body)

    assert document["total_pages"] > 500 and len(document["results"]) == 20


def test_more_requests_than_are_allowed_are_refused_with_and_without_a_time() -> None:
    service = Tmdb(num_films=10, requests_per_s=0.001)

    responses = [_get("/3/configuration", service=service) for _ in range(3)]

    assert [response.status for response in responses] == [429] * 3
    assert sorted(len(response.headers.get("Retry-After", "")) for response in responses) == [0, 1, 29]


def test_films_appear_as_days_pass() -> None:
    service = Tmdb(num_films=50)
    first = service.films()

    service.advance(2)

    assert service.films()[:50] == first and len(service.films()) == 50 + 2 * FILMS_PER_DAY
    assert max(film.added for film in service.films()) == START + timedelta(days=2)


def test_a_poster_shows_what_the_overview_says() -> None:
    for film in [film for film in SERVICE.films() if film.has_textless and film.id % 50 != 7][:30]:
        picture = Image.open(io.BytesIO(_get(f"/t/p/w185{film.textless}").body))
        assert picture.size == (185, 277)
        middle = picture.crop((80, 110, 105, 135)).resize((1, 1)).getpixel((0, 0))
        assert _nearest(middle, COLOURS | BACKGROUNDS) == film.colour, film.overview
        assert _nearest(picture.getpixel((2, 2)), COLOURS | BACKGROUNDS) == film.background


def _nearest(pixel: object, colours: dict[str, tuple[int, int, int]]) -> str:
    assert isinstance(pixel, tuple)
    return min(colours, key=lambda name: sum(abs(a - b) for a, b in zip(pixel, colours[name], strict=True)))


def test_pictures_have_tags_and_sizes_and_one_of_them_has_moved() -> None:
    whole = _get(f"/t/p/w92{FILM.poster}")
    moved = next(film for film in SERVICE.films() if film.has_poster and film.id % 50 == 7)

    assert _get(f"/t/p/w92{FILM.poster}", if_none_match=whole.headers["ETag"]).status == 304
    assert _get(f"/t/p/w93{FILM.poster}").status == 400
    assert _get("/t/p/w92/missing.jpg").status == 404
    redirect = _get(f"/t/p/w92{moved.poster}")
    assert redirect.status == 302 and _get(redirect.headers["Location"]).status == 200
