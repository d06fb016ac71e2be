"""Nobody is led to an address that is not public, however it is spelled and whoever leads."""

import asyncio
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.sources.addresses import BlockedAddressError, allowed_from_environment, check_address
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.http import ApiClient, ApiError, Fetched, ImageFetcher, Postponed, Refused
from minimagen.sources.services import Endpoint, ImageHosts
from tests.simulators.server import Request, Response, Site, running_site
from tests.sources.audited import recorded_connections
from tests.sources.hostile_addresses import hostile_urls

HOSTS = ImageHosts(requests_per_s=10_000.0, per_host=64, attempts=1, robots=False)
# fmt: off
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "223.255.255.255", "100.63.255.255", "100.128.0.0",
    "11.0.0.0", "169.253.255.255", "192.0.1.0", "198.17.255.255", "198.20.0.0", "::ffff:8.8.8.8",
    "64:ff9b::808:808", "2606:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00:1450::1", "2400:cb00::1",
    "3ffd::1",
]
NOT_PUBLIC = [
    "224.0.0.1", "192.88.99.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "fec0::1", "ff02::1",
    "::127.0.0.1", "64:ff9b:1::1", "5f00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2001:0:1::1", "fe80::1%lo",
    "0.0.0.0", "255.255.255.255", "::", "::1", "3fff::1", "3ffe::1", "4000::1", "2620:4f:8000::1", "192.31.196.1",
]
"""Among them those that the standard library calls global, and those that embed another address."""
# fmt: on
PICTURE = b"\x89PNG\r\n\x1a\n and so on"


class Redirects:
    """Leads /<number> to an address of its own."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = [target.encode().decode("latin-1") for target in targets]

    def answer(self, request: Request) -> Response:
        """Answers with a redirect, or with a picture where no number is given."""
        number = request.path[1:]
        if not number.isdecimal():
            return Response(200, PICTURE) if number == "picture" else Response(404)
        return Response(302, headers={"Location": self._targets[int(number)]})


@pytest.fixture
def canary() -> Iterator[int]:
    """A port of 127.0.0.1 and ::1 at which nobody is to arrive."""
    with ExitStack() as stack:
        first = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        port = first.getsockname()[1]
        listeners = [first, stack.enter_context(closing(socket.create_server(("::1", port), family=socket.AF_INET6)))]
        yield port
        for listener in listeners:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def _fetch_all(urls: Sequence[str], state: Path) -> list[Fetched | Refused | Postponed]:
    async def fetch_all() -> list[Fetched | Refused | Postponed]:
        async with ImageFetcher(HOSTS, max_bytes=1000, state=state) as fetcher:
            return await asyncio.gather(*map(fetcher.fetch, urls))

    return asyncio.run(fetch_all())


def _allow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")


def test_no_spelling_of_an_address_gets_a_connection(tmp_path: Path, canary: int) -> None:
    urls = hostile_urls(canary)
    assert len(urls) >= 200
    with recorded_connections() as connections:
        outcomes = _fetch_all(urls, tmp_path / "source")

    assert connections == []
    reasons = {"blocked_address", "blocked_scheme", "bad_url"}
    let_through = {
        url: outcome for url, outcome in zip(urls, outcomes, strict=True) if not isinstance(outcome, Refused)
    }
    assert let_through == {}
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refused)} == reasons


@pytest.mark.long
def test_no_redirect_of_a_picture_leads_to_one(tmp_path: Path, canary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [url for url in hostile_urls(canary) if url.isprintable()]
    with running_site(Redirects(targets)) as site, recorded_connections() as connections:
        _allow(site, monkeypatch)
        outcomes = _fetch_all([f"{site.url}/{number}" for number in range(len(targets))], tmp_path / "source")

    assert set(connections) == {site.address}
    assert not any(isinstance(outcome, Fetched) for outcome in outcomes)


def test_no_redirect_of_an_api_leads_to_one(tmp_path: Path, canary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [url for url in hostile_urls(canary) if url.isprintable()]
    with running_site(Redirects(targets)) as site, recorded_connections() as connections:
        _allow(site, monkeypatch)
        endpoint = Endpoint(url=site.url, requests_per_s=10_000.0, in_flight=1)
        with ApiClient(endpoint, state=tmp_path / "source", limits=ApiLimits(attempts=1)) as client:
            for number in range(len(targets)):
                with pytest.raises(ApiError):
                    client.get_json(str(number))

    assert set(connections) == {site.address}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_no_api_is_asked_at_one(tmp_path: Path, canary: int, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.2:{canary}")  # the port alone is not enough
    endpoint = Endpoint(url=f"http://{host}:{canary}", requests_per_s=1000.0, in_flight=1)
    with (
        recorded_connections() as connections,
        ApiClient(endpoint, state=tmp_path / "source") as client,
        pytest.raises(ApiError, match=r"blocked_address: .* is not a public address"),
    ):
        client.get_json("x")
    assert connections == []


def test_what_the_standard_library_calls_not_global_is_blocked() -> None:
    draw = random.Random(7)
    addresses = [IPv4Address(draw.getrandbits(32)) for _ in range(20_000)]
    addresses += [IPv6Address(draw.getrandbits(128)) for _ in range(5_000)]
    addresses += [IPv6Address((0x2001 << 112) | draw.getrandbits(112)) for _ in range(5_000)]
    num_public = 0
    for address in addresses:
        if not ip_address(str(address)).is_global or address.is_multicast:
            with pytest.raises(BlockedAddressError):
                check_address(str(address), 443)
        elif isinstance(address, IPv4Address):
            num_public += 1
    assert num_public > 15_000


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "11.0.0.0",
        "169.253.255.255",
        "192.0.1.0",
        "198.17.255.255",
        "198.20.0.0",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2a00:1450::1",
        "2400:cb00::1",
        "3ffd::1",
    ],
)
def test_public_addresses_are_let_through(address: str) -> None:
    check_address(address, 80)
    check_address(address, 443)
    with pytest.raises(BlockedAddressError, match="port 8080 is neither 80 nor 443"):
        check_address(address, 8080)


@pytest.mark.parametrize(
    "address",
    [
        "224.0.0.1",
        "192.88.99.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fec0::1",
        "ff02::1",
        "::127.0.0.1",
        "64:ff9b:1::1",
        "5f00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2001:0:1::1",
        "fe80::1%lo",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "3fff::1",
        "3ffe::1",
        "4000::1",
        "2620:4f:8000::1",
        "192.31.196.1",
    ],
)
def test_addresses_that_pass_for_public_are_blocked(address: str) -> None:
    with pytest.raises(BlockedAddressError, match="is not a public address"):
        check_address(address, 443)


def test_the_environment_lets_exact_pairs_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", " 127.0.0.1:5000 ,[::1]:5001,")
    allowed = allowed_from_environment()
    assert allowed == {("127.0.0.1", 5000), ("::1", 5001)}
    check_address("127.0.0.1", 5000, allowed)
    check_address("::ffff:127.0.0.1", 5000, allowed)
    check_address("::1", 5001, allowed)
    for address, port in [("127.0.0.1", 5001), ("127.0.0.2", 5000), ("::1", 5000), ("127.0.0.1", 80)]:
        with pytest.raises(BlockedAddressError):
            check_address(address, port, allowed)


@pytest.mark.parametrize(
    "value", ["localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", ":80", "127.1:80", "*:80"]
)
def test_what_is_no_pair_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", value)
    with pytest.raises(ConfigError, match=r"MINIMAGEN_ALLOWED_ADDRESSES has .*, expected like 127.0.0.1:5000"):
        allowed_from_environment()
