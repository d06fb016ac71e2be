"""Pictures are asked for politely and never without an outcome; how each fault ends is in test_http_faults.py."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from minimagen.sources.addresses import allowed_from_environment
from minimagen.sources.exchange import Exchange, Limits
from minimagen.sources.http import Fetched, ImageFetcher, Postponed, Refused
from minimagen.sources.services import ImageHosts
from tests.simulators.clocks import ScaledClock
from tests.simulators.faulty import FaultySite, running_faulty_site
from tests.simulators.faulty_behaviours import BEHAVIOURS
from tests.simulators.server import Request, Response, Site, running_site

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
HOSTS = ImageHosts(requests_per_s=10_000.0, per_host=4, robots=False)
CLOCK = ScaledClock(1000.0, 0.0, 0.0)
Outcome = Fetched | Refused | Postponed


class Pictures:
    """Answers each path by a function, or with a picture."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, **answers: Callable[[Request], Response]) -> None:
        self._answers = answers

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        answer = self._answers.get(request.path[1:])
        return Response(200, PNG) if answer is None else answer(request)


@contextmanager
def _site(service: Pictures) -> Iterator[Site]:
    with running_site(service) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        yield site


def _fetch(urls: Sequence[str], folder: Path, *, hosts: ImageHosts = HOSTS, num_processes: int = 1) -> list[Outcome]:
    async def fetch_all() -> list[Outcome]:
        options = {"state": folder / "source", "clock": CLOCK, "num_processes": num_processes}
        async with ImageFetcher(hosts, max_bytes=2000, **options) as fetcher:
            return await asyncio.gather(*map(fetcher.fetch, urls))

    return asyncio.run(fetch_all())


def test_a_picture_comes_as_it_is_from_where_redirects_lead(tmp_path: Path) -> None:
    moved = Response(302, headers={"Location": "there?size=1", "Set-Cookie": "tracked=yes"})
    with _site(Pictures(a=lambda _: moved)) as site:
        (outcome,) = _fetch([f"{site.url}/a#part"], tmp_path)

    assert isinstance(outcome, Fetched)
    assert outcome.content == PNG
    assert outcome.final_url == f"{site.url}/there?size=1"
    first, second = site.requests
    assert first.headers["user-agent"].startswith("minimagen-pipeline/")
    assert first.headers["accept-encoding"] == "identity"
    assert "cookie" not in second.headers
    assert "referer" not in second.headers


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF\0\0\0\0WEBP"]
)
def test_formats_are_known_by_their_first_bytes(tmp_path: Path, start: bytes) -> None:
    content = start + bytes(100)
    with _site(Pictures(a=lambda _: Response(200, content, {"Content-Type": "text/html"}))) as site:
        (outcome,) = _fetch([f"{site.url}/a"], tmp_path)
    assert isinstance(outcome, Fetched)
    assert outcome.content == content


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"BM" + bytes(100),
        b"II*\0" + bytes(100),
        b"%PDF-1.7" + bytes(100),
        b"RIFF\0\0\0\0AVI " + bytes(100),
        b"\xff\xd8",
        b"GIF89",
        b"",
    ],
)
def test_what_does_not_begin_as_a_picture_is_none(tmp_path: Path, content: bytes) -> None:
    with _site(Pictures(a=lambda _: Response(200, content, {"Content-Type": "image/png"}))) as site:
        (outcome,) = _fetch([f"{site.url}/a"], tmp_path)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "not_an_image"
    assert len(site.requests) == 1


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "999999999"}])
def test_too_large_pictures_are_not_read_to_the_end(tmp_path: Path, headers: dict[str, str]) -> None:
    with _site(Pictures(a=lambda _: Response(200, PNG + bytes(1000), headers))) as site:
        (outcome,) = _fetch([f"{site.url}/a"], tmp_path)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "too_large"
    assert "2000 bytes" in outcome.detail


def test_a_failing_host_is_asked_as_often_as_it_says(tmp_path: Path) -> None:
    with _site(Pictures(a=lambda _: Response(503))) as site:
        outcomes = _fetch([f"{site.url}/a", f"{site.url}/b"], tmp_path, hosts=HOSTS.model_copy(update={"attempts": 4}))
    assert outcomes[0] == Refused("http_5xx", "status 503")
    assert isinstance(outcomes[1], Fetched)
    assert Counter(request.path for request in site.requests) == {"/a": 4, "/b": 1}


def test_places_at_a_host_are_shared_out_among_processes(tmp_path: Path) -> None:
    lock, num_here, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=10.0)

    def answer(_: Request) -> Response:
        nonlocal num_here, most
        with lock:
            num_here, most = num_here + 1, max(most, num_here + 1)
        both.wait()
        with lock:
            num_here -= 1
        return Response(200, PNG)

    with _site(Pictures(a=answer)) as site:
        outcomes = _fetch([f"{site.url}/a"] * 20, tmp_path, num_processes=2)
    assert all(isinstance(outcome, Fetched) for outcome in outcomes)
    assert most == 2


def test_a_long_pause_postpones_all_pictures_of_the_host_and_no_others(tmp_path: Path) -> None:
    busy = Response(429, headers={"Retry-After": "3600"})
    with _site(Pictures(a=lambda _: busy)) as site, _site(Pictures()) as other, pytest.MonkeyPatch.context() as patch:
        both = f"127.0.0.1:{site.address[1]},127.0.0.1:{other.address[1]}"
        patch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", both)
        first = _fetch([f"{site.url}/a"], tmp_path)
        rest = _fetch([f"{site.url}/b"] * 50 + [f"{other.url}/b"], tmp_path)
    assert first == [Postponed(f"127.0.0.1:{site.address[1]} wants a pause")]
    assert all(isinstance(outcome, Postponed) for outcome in rest[:-1])
    assert isinstance(rest[-1], Fetched)
    assert len(site.requests) == 1


def test_a_picture_that_comes_too_slowly_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(total_s=30.0, idle_s=10.0, window_s=0.5)

    async def fetch(site: FaultySite) -> Outcome:
        state, allowed = tmp_path / "source", allowed_from_environment()
        async with (
            Exchange(limits, folder=state, allowed=allowed) as exchange,
            ImageFetcher(HOSTS, max_bytes=10_000, state=state, clock=CLOCK, exchange=exchange) as fetcher,
        ):
            return await fetcher.fetch(site.address("/drip_body/image/always/0"))

    with running_faulty_site(BEHAVIOURS, CLOCK, []) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", site.allowed)
        outcome = asyncio.run(fetch(site))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "timeout"
    assert "bytes in 1 s" in outcome.detail


def test_a_long_picture_waits_in_an_unnamed_file(tmp_path: Path) -> None:
    long = PNG + bytes(300_000)

    async def fetch(url: str) -> Outcome:
        async with ImageFetcher(HOSTS, max_bytes=10**6, state=tmp_path / "source") as fetcher:
            outcome = await fetcher.fetch(url)
            assert list((tmp_path / "source").iterdir()) == []
            return outcome

    with _site(Pictures(a=lambda _: Response(200, long))) as site:
        outcome = asyncio.run(fetch(f"{site.url}/a"))
    assert isinstance(outcome, Fetched)
    assert outcome.content == long
