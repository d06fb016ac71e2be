"""What owners say in robots.txt and in headers is kept to."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from minimagen.sources.clock import SYSTEM_CLOCK
from minimagen.sources.http import Fetched, ImageFetcher, Postponed, Refused
from minimagen.sources.opt_out import opt_out
from minimagen.sources.robots_cache import KEPT_S, RobotsCache, RobotsText
from minimagen.sources.services import ImageHosts
from tests.simulators.clocks import ScaledClock
from tests.simulators.server import Request, Response, running_site

PICTURE = b"\x89PNG\r\n\x1a\n and so on"
Outcome = Fetched | Refused | Postponed


class Host:
    """Has a robots.txt, pictures, and things to say about them."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, robots: Response, headers: Mapping[str, str] | None = None) -> None:
        self._robots, self._headers = robots, headers or {}

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        if request.path == "/robots.txt":
            return self._robots
        if request.path == "/moved":
            return Response(302, headers={"Location": "/private/a.jpg"})
        return Response(200, PICTURE, self._headers)


def _fetch(
    host: Host, paths: Sequence[str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[str]]:
    """Returns the outcome of each path, and the paths that were asked for."""

    async def fetch_all() -> list[Outcome]:
        hosts = ImageHosts(requests_per_s=1000.0, attempts=2)
        async with ImageFetcher(hosts, max_bytes=1000, state=state, clock=ScaledClock(1000.0, 0.0, 0.0)) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(f"{site.url}{path}") for path in paths))

    with running_site(host) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        outcomes = asyncio.run(fetch_all())
    words = [one.reason if isinstance(one, Refused) else type(one).__name__.lower() for one in outcomes]
    return words, [request.path for request in site.requests]


@pytest.mark.parametrize(
    ("robots", "word"),
    [
        (Response(200, b"User-agent: *\nDisallow: /private/\n"), "robots"),
        (Response(200, b"User-agent: minimagen-pipeline\nDisallow: /private/\n"), "robots"),
        (Response(200, b"User-agent: *\r\nDisallow: /private\r\n\r\nUser-agent: other\r\nAllow: /\r\n"), "robots"),
        (Response(200, b"User-agent: *\nDisallow: /\n\nUser-agent: minimagen-pipeline\nDisallow:\n"), "fetched"),
        (Response(200, b"User-agent: other\nDisallow: /\n"), "fetched"),
        (Response(200, b""), "fetched"),
        (Response(200, b"\xff\xfe\x00<html>nonsense"), "fetched"),
        (Response(200, b"User-agent: *\nDisallow: /private\n", {"X-Robots-Tag": "noindex"}), "robots"),
        (Response(404), "fetched"),
        (Response(403), "fetched"),
        (Response(500), "robots"),
        (Response(200, b"x" * 600_000), "robots"),
        (Response(302, headers={"Location": "/robots.txt"}), "fetched"),
    ],
)
def test_robots_txt_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, robots: Response, word: str) -> None:
    words, asked = _fetch(Host(robots), ["/private/a.jpg"], tmp_path / "source", monkeypatch)
    assert words == [word]
    assert ("/private/a.jpg" in asked) == (word == "fetched")


def test_a_host_is_asked_once_for_many_pictures_and_again_only_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(Response(200, b"User-agent: *\nDisallow: /private/\n"))
    paths = [f"/{number}.jpg" for number in range(20)] + [f"/private/{number}.jpg" for number in range(20)]
    words, asked = _fetch(host, paths, tmp_path / "source", monkeypatch)
    assert words == ["fetched"] * 20 + ["robots"] * 20
    assert asked.count("/robots.txt") == 1
    assert len(asked) == 21

    origin = "http://host.example"
    clock = ScaledClock(0.0, 0.0, 1e9)
    RobotsCache(tmp_path / "robots.sqlite", clock).keep(origin, RobotsText("", b"text"))
    assert RobotsCache(tmp_path / "robots.sqlite", clock).find(origin) == RobotsText("", b"text")
    assert RobotsCache(tmp_path / "robots.sqlite", clock).find("http://other.example") is None
    for moment in (1e9 + KEPT_S + 1.0, 1e9 - 1.0):
        assert RobotsCache(tmp_path / "robots.sqlite", ScaledClock(0.0, 0.0, moment)).find(origin) is None


def test_what_is_known_of_a_host_holds_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, state = Host(Response(200, b"User-agent: *\nDisallow: /private/\n")), tmp_path / "source"

    async def fetch(url: str) -> Outcome:
        async with ImageFetcher(ImageHosts(requests_per_s=1000.0), max_bytes=1000, state=state) as fetcher:
            return await fetcher.fetch(url)

    with running_site(host) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        first = asyncio.run(fetch(f"{site.url}/a.jpg"))
        second = asyncio.run(fetch(f"{site.url}/private/a.jpg"))
    assert isinstance(first, Fetched)
    assert isinstance(second, Refused)
    assert [request.path for request in site.requests] == ["/robots.txt", "/a.jpg"]


def test_a_redirect_is_looked_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(Response(200, b"User-agent: *\nDisallow: /private/\n"))
    words, asked = _fetch(host, ["/moved"], tmp_path / "source", monkeypatch)
    assert words == ["robots"]
    assert asked == ["/robots.txt", "/moved"]


def test_a_host_that_cannot_be_reached_for_its_rules_is_not_asked_for_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch() -> Outcome:
        hosts = ImageHosts(requests_per_s=1000.0, attempts=1)
        async with ImageFetcher(hosts, max_bytes=1000, state=tmp_path / "source", clock=SYSTEM_CLOCK) as fetcher:
            return await fetcher.fetch("http://127.0.0.1:9/a.jpg")

    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", "127.0.0.1:9")
    outcome = asyncio.run(fetch())
    assert isinstance(outcome, Refused)
    assert outcome.reason == "connect"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"X-Robots-Tag": "noai"}, "opted_out"),
        ({"x-robots-tag": "all, NoImageAI"}, "opted_out"),
        ({"X-Robots-Tag": "minimagen-pipeline: noml"}, "opted_out"),
        ({"X-Robots-Tag": "otherbot: noai"}, "fetched"),
        ({"TDM-Reservation": "1"}, "opted_out"),
        ({"TDM-Reservation": "0"}, "fetched"),
        ({"X-Robots-Tag": "all"}, "fetched"),
    ],
)
def test_headers_of_a_picture_are_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, str], word: str
) -> None:
    assert _fetch(Host(Response(404), headers), ["/a.jpg"], tmp_path / "source", monkeypatch)[0] == [word]


@pytest.mark.parametrize("word", ["noai", "noimageai", "noml", "noindex", "noimageindex", "none"])
def test_each_word_reserves_for_all_robots_and_for_ours(word: str) -> None:
    for value in (word, word.upper(), f"nofollow, {word}", f" {word} ", f"*: {word}", f"minimagen-pipeline: {word}"):
        assert opt_out([value], []) is not None
    for value in (
        f"otherbot: {word}",
        f"otherbot: nofollow, {word}",
        f"x{word}",
        "nofollow",
        "",
        ":",
        "max-snippet: 5",
    ):
        assert opt_out([value], []) is None


def test_several_headers_and_several_robots_in_one_are_told_apart() -> None:
    assert opt_out(["otherbot: noai", "nosnippet", "noai"], []) == "X-Robots-Tag: noai"
    assert opt_out(["otherbot: nofollow, minimagen-pipeline: noai"], []) is not None
    assert opt_out(["minimagen-pipeline: nofollow, otherbot: noai"], []) is None
    assert opt_out(["unavailable_after: 25 Jun 2027 15:00:00 PST, noai"], []) is not None
    assert opt_out(["max-snippet:5, noai"], []) is not None
    assert opt_out(["otherbot: max-snippet:5, noai"], []) is None
    assert opt_out([], ["0", " 1 "]) == "tdm-reservation: 1"
    assert opt_out([], ["0", "2", ""]) is None
