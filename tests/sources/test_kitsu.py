import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.kitsu import Catalogue, Title, moment
from minimagen.sources.services import Endpoint
from tests.simulators.anime import Anime
from tests.simulators.server import Request, Response, running_site
from tests.sources.anime_services import VirtualClock


class Canned:
    """A service that answers every page with one document."""

    def __init__(self, document: object) -> None:
        self.prefixes: Sequence[str] = ("/anime",)
        self._content = json.dumps(document).encode()

    def answer(self, request: Request) -> Response:
        return Response(200, self._content, {"Content-Type": "application/vnd.api+json"})


def client_of(url: str, folder: Path) -> ApiClient:
    endpoint = Endpoint(url=url, requests_per_s=1000.0, in_flight=1)
    return ApiClient(endpoint, state=folder / "runs/ingest/anime", clock=VirtualClock())


def titles_of(document: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Title]:
    """Reads a catalogue of which every page is the document."""
    with running_site(Canned(document)) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.url.removeprefix("http://"))
        with client_of(site.url, folder) as client:
            return [title for page in Catalogue(client, folder, ()).pages("createdAt") for title in page.titles]


def page(*rows: object, **changes: object) -> Mapping[str, object]:
    return {"data": list(rows), "meta": {"count": len(rows)}, "links": {}} | changes


def row(**attributes: object) -> Mapping[str, object]:
    return {
        "id": "7",
        "type": "anime",
        "attributes": {"canonicalTitle": "A", "ageRating": "G", "nsfw": False} | attributes,
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "offset 0 has no list `data`"),
        ({"errors": [{"status": 429}]}, "offset 0 has no list `data`"),
        (page(row(), meta={}), "no number `meta.count`: None"),
        (page({"id": 7, "attributes": {}}), "a title with the id 7"),
        (page({"id": "../x"}), r"a title with the id '\.\./x'"),
        (page(None), "a title with the id None"),
    ],
)
def test_an_answer_that_is_not_as_documented_is_told(
    document: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=message):
        titles_of(document, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"synopsis": ["a"]}, "synopsis is ['a'], expected a text or null"),
        ({"titles": "A"}, "titles is 'A', expected an object or null"),
        ({"titles": {"en": 5}}, "en is 5, expected a text or null"),
        ({"posterImage": "http://x/"}, "posterImage is 'http://x/', expected an object or null"),
        ({"posterImage": {"tiny": 5}}, "tiny is 5, expected a text or null"),
        ({"synopsis": "half \ud800"}, "synopsis holds half of a surrogate pair"),
        ({"ageRating": 18}, "ageRating is 18, expected a text or null"),
    ],
)
def test_a_field_of_another_type_makes_the_title_a_problem_that_names_it(
    attributes: Mapping[str, object], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert titles_of(page(row(**attributes)), tmp_path, monkeypatch) == [Title("7", problem=problem)]


@pytest.mark.parametrize(
    ("nsfw", "rating", "is_adult"),
    [
        (False, "G", False),
        (False, "R", False),
        (True, "R18", True),
        (True, "PG", True),
        (False, "R18", True),
        (True, None, True),
        (False, None, None),
        (None, "PG", None),
        ("false", "PG", None),
        (False, "X", None),
    ],
)
def test_what_the_service_does_not_say_plainly_is_unknown(
    nsfw: object, rating: object, is_adult: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = titles_of(page(row(nsfw=nsfw, ageRating=rating)), tmp_path, monkeypatch)

    assert found[0].is_adult is is_adult


def test_fields_that_are_null_absent_or_unknown_are_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"tiny": None, "small": "http://x/s.jpg", "meta": {"dimensions": {"tiny": None}}, "huge": 5}
    attributes = {"synopsis": None, "posterImage": sizes, "titles": {"en": None, "en_jp": "B"}, "new": {"a": [1]}}

    found = titles_of(page(row(**attributes)), tmp_path, monkeypatch)

    assert found[0].posters == (("small", "http://x/s.jpg"),) and found[0].names == ("A", "B")
    assert (found[0].synopsis, found[0].updated_at, found[0].problem) == ("", None, "")


def test_pages_end_with_the_count_though_every_answer_says_that_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = page(row(), meta={"count": 50}, links={"next": "http://elsewhere.invalid/"})

    assert len(titles_of(endless, tmp_path, monkeypatch)) == 3


def test_an_empty_catalogue_has_no_title_and_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_site(Canned(page())) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.url.removeprefix("http://"))
        with client_of(site.url, tmp_path) as client:
            assert Catalogue(client, tmp_path, ()).newest_update() == ""
    assert titles_of(page(), tmp_path / "pages", monkeypatch) == []


@pytest.mark.parametrize("text", ["", "yesterday", "2026-05-07", "2026-05-07T10:03:54", "None"])
def test_what_names_no_instant_is_none(text: str) -> None:
    assert moment(text) is None


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiClient]:
    """A client of the simulated service."""
    with running_site(Anime()) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.url.removeprefix("http://"))
        with client_of(f"{site.url}/api/edge", tmp_path) as client:
            yield client


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/anime", {"page[limit]": 21}, 400),
        ("/anime", {"page[offset]": -1}, 400),
        ("/anime", {"sort": "beauty"}, 400),
        ("/anime/99999", {}, 404),
    ],
)
def test_the_simulator_refuses_what_the_service_refuses(
    simulated: ApiClient, path: str, params: Mapping[str, str | int], status: int
) -> None:
    with pytest.raises(ApiError) as caught:
        simulated.get_json(path, params)

    assert caught.value.status == status
    assert isinstance(caught.value.document, dict) and caught.value.document["errors"][0]["status"] == str(status)
