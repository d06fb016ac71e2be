"""APIs are asked as they want to be asked; how each fault ends is in test_http_faults.py."""

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from pydantic import SecretStr

import minimagen
from minimagen.errors import UnavailableError
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.clock import Clock
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.services import Endpoint
from tests.simulators.clocks import JumpingLoop
from tests.simulators.server import Request, Response, Site, running_site

ANSWER = b'{"results": [1, 2]}'


class Scripted:
    """Answers as it is told to, request by request; the last answer again and again."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, *answers: Response | Callable[[Request], Response]) -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        with self._lock:
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer if isinstance(answer, Response) else answer(request)


@pytest.fixture
def clock() -> JumpingLoop:
    """A clock whose hours pass at once."""
    loop = JumpingLoop()
    loop.close()
    return loop


@contextmanager
def _client(
    service: Scripted, folder: Path, clock: Clock, *, token: str | None = "key", rate: float = 1000.0
) -> Iterator[tuple[ApiClient, Site]]:
    with running_site(service) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        endpoint = Endpoint(url=f"{site.url}/api/3", requests_per_s=rate, in_flight=3)
        secret = None if token is None else SecretStr(token)
        with ApiClient(endpoint, state=folder / "source", token=secret, key_name="TMDB_TOKEN", clock=clock) as client:
            yield client, site


def test_a_document_is_asked_for_below_the_endpoint_with_key_and_name(tmp_path: Path, clock: JumpingLoop) -> None:
    with _client(Scripted(Response(200, ANSWER, {"X-Left": "9"})), tmp_path, clock) as (client, site):
        answer = client.get_json("/movie/550", {"page[limit]": 20, "with": "a b&c=d"})

    (request,) = site.requests
    assert (answer.status, answer.document, answer.headers["x-left"]) == (200, {"results": [1, 2]}, "9")
    assert (request.method, request.path) == ("GET", "/api/3/movie/550")
    assert request.query == {"page[limit]": "20", "with": "a b&c=d"}
    assert request.headers["authorization"] == "Bearer key"
    agent = f"minimagen-pipeline/{minimagen.__version__} (+https://github.com/minimagen/minimagen-pipeline)"
    assert request.headers["user-agent"] == agent
    assert "application/vnd.api+json" in request.headers["accept"]


def test_the_contact_is_the_users_own_if_there_is_one(
    tmp_path: Path, clock: JumpingLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIMAGEN_CONTACT", "mailto:me@host.example)\r\nX-Evil: 1")
    with _client(Scripted(Response(200, ANSWER)), tmp_path, clock) as (client, site):
        client.get_json("x")
    expected = f"minimagen-pipeline/{minimagen.__version__} (+mailto:me@host.exampleX-Evil: 1)"
    assert site.requests[0].headers["user-agent"] == expected
    assert "x-evil" not in site.requests[0].headers


def test_proxies_cookies_and_netrc_of_the_surroundings_play_no_part(
    tmp_path: Path, clock: JumpingLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    service = Scripted(Response(200, ANSWER, {"Set-Cookie": "tracked=yes"}))
    with _client(service, tmp_path, clock, token=None) as (client, site):
        client.get_json("x")
        client.get_json("x")
    assert [set(request.headers) & {"cookie", "authorization"} for request in site.requests] == [set(), set()]


@pytest.mark.parametrize("status", [404, 429, 500, 400])
def test_accepted_statuses_are_answers(tmp_path: Path, clock: JumpingLoop, status: int) -> None:
    with _client(Scripted(Response(status, b'{"a": 1}'), Response(status, b"no JSON")), tmp_path, clock) as (
        client,
        site,
    ):
        answer, other = client.get_json("x", accept={status}), client.get_json("x", accept=[status])
    assert (answer.status, answer.document) == (status, {"a": 1})
    assert (other.status, other.document) == (status, None)
    assert len(site.requests) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"success": false, "status_code": 34, "status_message": "not found"}', ": not found"),
        (b'{"errors": ["page must be less"]}', ": page must be less"),
        (b'{"errors": [{"title": "Record not found", "status": "404"}]}', ": Record not found"),
        (b'{"errors": [{"message": "Too\\nMany", "status": 429}], "data": null}', ": Too Many"),
        (b'{"message": "quiet"}', ": quiet"),
        (b'{"error": {"message": "deep"}}', ": deep"),
        (b"[]", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_a_refusal_says_what_the_service_says(tmp_path: Path, clock: JumpingLoop, body: bytes, said: str) -> None:
    with _client(Scripted(Response(404, body)), tmp_path, clock) as (client, site):
        with pytest.raises(ApiError) as caught:
            client.get_json("movie/1", {"secret": "x"})
        assert str(caught.value) == f"{site.url}/api/3/movie/1: status 404{said}"
    assert caught.value.status == 404
    assert caught.value.document == (json.loads(body) if body[:1] in (b"{", b"[") else None)
    assert len(site.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": NaN}', b'{"a": 1', b"[" * 100_000, b"\xff\xfe", b"1 2"])
def test_what_is_no_json_is_asked_for_again_a_few_times(tmp_path: Path, clock: JumpingLoop, body: bytes) -> None:
    with (
        _client(Scripted(Response(200, body)), tmp_path, clock) as (client, site),
        pytest.raises(ApiError, match=r"/api/3/x: no JSON .*, 5 times"),
    ):
        client.get_json("x")
    assert len(site.requests) == 5
    assert clock.now() < 1000.0 + 0.5 + 1.0 + 2.0 + 4.0


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_nothing_is_asked_before_a_pause_is_over(tmp_path: Path, clock: JumpingLoop, form: str) -> None:
    times: list[float] = []

    def refuse(_: Request) -> Response:
        times.append(clock.now())
        pause = "120" if form == "seconds" else formatdate(clock.wall() + 120.0, usegmt=True)
        return Response(429, b"{}", {"Retry-After": pause})

    def give(_: Request) -> Response:
        times.append(clock.now())
        return Response(200, ANSWER)

    with _client(Scripted(refuse, refuse, give), tmp_path, clock) as (client, _):
        assert client.get_json("x").status == 200
    assert all(after - before == pytest.approx(120.0, abs=1.1) for before, after in itertools.pairwise(times))
    assert len(times) == 3


@pytest.mark.parametrize(("status", "is_for_now"), [(500, True), (503, True), (400, False), (401, False), (404, False)])
def test_what_later_may_mend_is_told_from_what_it_does_not(
    tmp_path: Path, clock: JumpingLoop, status: int, is_for_now: bool
) -> None:
    with _client(Scripted(Response(status, b"{}")), tmp_path, clock) as (client, _), pytest.raises(ApiError) as caught:
        client.get_json("x")
    assert isinstance(caught.value, UnavailableError) is is_for_now
    assert caught.value.status == status


def test_a_service_that_wants_hours_is_left_alone_by_later_clients_too(tmp_path: Path, clock: JumpingLoop) -> None:
    service = Scripted(Response(429, b"{}", {"Retry-After": "3600"}), Response(200, ANSWER))
    with _client(service, tmp_path, clock) as (client, site):
        for _ in range(2):
            with pytest.raises(ApiError, match=r"wants to be left alone for 3600 s; run again after that") as caught:
                client.get_json("x")
            assert caught.value.status == 429 and isinstance(caught.value, UnavailableError)
        assert len(site.requests) == 1
        clock.sleep(3601.0)
        assert client.get_json("x").status == 200


def test_an_hour_of_storms_costs_few_requests_and_no_answer(tmp_path: Path, clock: JumpingLoop) -> None:
    times, quiet_until, too_early = list[float](), 0.0, 0

    def answer(_: Request) -> Response:
        nonlocal quiet_until, too_early
        now = clock.now()
        times.append(now)
        too_early += now < quiet_until
        if now % 300.0 < 150.0:  # half of the time it is stormy
            left_s = math.ceil(150.0 - now % 300.0)
            quiet_until = now + left_s
            return Response(429, b"{}", {"Retry-After": str(left_s)})
        return Response(200, ANSWER)

    with _client(Scripted(answer), tmp_path, clock, rate=0.25) as (client, _):
        for _ in range(450):
            client.get_json("x")
    assert clock.now() - 1000.0 > 3000.0
    assert too_early == 0
    assert min(after - before for before, after in itertools.pairwise(times)) >= 4.0 - 1e-6
    assert len(times) <= 1.10 * 450


def test_threads_share_a_client_within_its_places(tmp_path: Path, clock: JumpingLoop) -> None:
    lock, num_here, most = threading.Lock(), 0, 0
    everyone = threading.Barrier(3, timeout=10.0)

    def answer(_: Request) -> Response:
        nonlocal num_here, most
        with lock:
            num_here, most = num_here + 1, max(most, num_here + 1)
        everyone.wait()
        with lock:
            num_here -= 1
        return Response(200, ANSWER)

    with _client(Scripted(answer), tmp_path, clock) as (client, site), ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(client.get_json, ["x"] * 30))
    assert [answer.status for answer in answers] == [200] * 30
    assert len(site.requests) == 30
    assert most == 3


@pytest.mark.parametrize(
    "path", ["../x", "a/../b", "a/%2e%2e/b", "a//b", "", "/", "a?b=c", "a#b", "a b", "a\\b", "//host/x", "a/"]
)
def test_a_path_that_leads_out_of_the_endpoint_is_no_path(tmp_path: Path, clock: JumpingLoop, path: str) -> None:
    with (
        _client(Scripted(Response(200, ANSWER)), tmp_path, clock) as (client, site),
        pytest.raises(ApiError, match="is not a path below it"),
    ):
        client.get_json(path)
    assert site.requests == []


def test_a_key_is_not_sent_where_a_redirect_leads(tmp_path: Path, clock: JumpingLoop) -> None:
    with running_site(Scripted(Response(200, ANSWER))) as other:
        moved = Response(301, headers={"Location": f"{other.url}/there?a=b"})
        with _client(Scripted(moved), tmp_path, clock) as (client, site), pytest.MonkeyPatch.context() as patch:
            both = f"127.0.0.1:{site.address[1]},127.0.0.1:{other.address[1]}"
            patch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", both)
            assert client.get_json("x", {"page": 1}).status == 200
    (request,) = other.requests
    assert "authorization" not in request.headers
    assert request.query == {"a": "b"}


def test_large_documents_are_not_read_to_the_end(tmp_path: Path, clock: JumpingLoop) -> None:
    service = Scripted(Response(200, b"[" + b" " * 10_000 + b"]"))
    with running_site(service) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        endpoint = Endpoint(url=site.url, requests_per_s=1000.0, in_flight=1)
        limits = ApiLimits(document_bytes=5000)
        with (
            ApiClient(endpoint, state=tmp_path / "source", clock=clock, limits=limits) as client,
            pytest.raises(ApiError, match="more than 5000 bytes of JSON"),
        ):
            client.get_json("x")
    assert len(site.requests) == 1
