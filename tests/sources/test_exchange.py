"""Names may say what they like: the address that is connected to is the one that was checked."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from minimagen.sources.addresses import allowed_from_environment
from minimagen.sources.exchange import Exchange, Limits
from minimagen.sources.http import Fetched, ImageFetcher, Postponed, Refused
from minimagen.sources.services import ImageHosts
from tests.simulators.server import Request, Response, Site, running_site
from tests.sources.audited import recorded_connections

HOSTS = ImageHosts(requests_per_s=10_000.0, per_host=64, attempts=1, robots=False)


class Picture:
    """Serves one picture."""

    prefixes: Sequence[str] = ("/",)

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        return Response(200, b"\x89PNG\r\n\x1a\n and so on")


def _allow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")


class _Rebinding(AbstractResolver):
    """Resolves each name to what it is told to, one answer after the other."""

    def __init__(self, answers: Callable[[str], list[str]]) -> None:
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the answer for a name."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self._answers(host)
        ]

    async def close(self) -> None:
        """Does nothing."""


def _fetch_by(resolver: AbstractResolver, urls: Sequence[str], state: Path) -> list[Fetched | Refused | Postponed]:
    async def fetch_all() -> list[Fetched | Refused | Postponed]:
        allowed = allowed_from_environment()
        async with (
            Exchange(Limits(5.0, 5.0), folder=state, allowed=allowed, resolver=resolver) as exchange,
            ImageFetcher(HOSTS, max_bytes=1000, state=state, exchange=exchange) as fetcher,
        ):
            return [await fetcher.fetch(url) for url in urls]

    return asyncio.run(fetch_all())


def test_a_name_that_changes_its_address_gains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = [
        "127.0.0.2",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "fd00::1",
        "0.0.0.0",
    ]
    asked: dict[str, int] = {}

    def answer(host: str) -> list[str]:
        asked[host] = asked.get(host, 0) + 1
        number = int(host.split(".")[0].removeprefix("n"))
        return [private[number % len(private)]] if asked[host] == 1 else ["127.0.0.1"]

    with running_site(Picture()) as site, recorded_connections() as connections:
        _allow(site, monkeypatch)
        urls = [f"http://n{number}.example:{site.address[1]}/picture" for number in range(100)]
        first = _fetch_by(_Rebinding(answer), urls, tmp_path / "source")

    assert connections == []
    assert all(isinstance(outcome, Refused) and outcome.reason == "blocked_address" for outcome in first)


def test_of_several_addresses_of_a_name_only_the_public_ones_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_site(Picture()) as site, recorded_connections() as connections:
        _allow(site, monkeypatch)
        resolver = _Rebinding(lambda host: ["10.0.0.1", "::1", "127.0.0.2", "127.0.0.1"])
        (outcome,) = _fetch_by(resolver, [f"http://host.example:{site.address[1]}/picture"], tmp_path / "source")

    assert isinstance(outcome, Fetched)
    assert set(connections) == {site.address}
