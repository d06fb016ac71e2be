"""Asks a faulty server for everything it is told to, in a process of its own, and tells how each asking ended.

Reads a JSON object from standard input and writes one to standard output.
"""

import asyncio
import faulthandler
import json
import resource
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr

from minimagen.sources import safe_adapter
from minimagen.sources.addresses import allowed_from_environment
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.exchange import Exchange, Limits
from minimagen.sources.http import ApiClient, ApiError, Fetched, ImageFetcher, Refused
from minimagen.sources.services import Endpoint, ImageHosts
from tests.simulators.clocks import ScaledClock
from tests.simulators.faulty import GOOD, is_bad

MAX_BYTES = 1_000_000
IDLE_S, TOTAL_S = 1.0, 2.5
API_LIMITS = ApiLimits(
    total_s=TOTAL_S,
    idle_s=IDLE_S,
    connect_s=IDLE_S,
    piece_s=IDLE_S,
    piece_bytes=1000,
    document_bytes=MAX_BYTES,
    attempts=3,
)
LIMITS = Limits(TOTAL_S, IDLE_S, connect_s=IDLE_S, window_s=IDLE_S)
AT_ONCE = 40
HANGS_S = 120.0
"""After that it tells where it hangs, and ends."""


class Names(AbstractResolver):
    """Resolves the names of the server, badly where a case is about that."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def find(self, host: str) -> str:
        """Returns an address.

        Raises:
            socket.gaierror: there is no such name.
        """
        if not host.endswith(".invalid"):
            return host
        behaviour, kind, phase, item = host.removesuffix(".invalid").split("-")
        self._counts[host] += 1
        if not is_bad(kind, phase, item, self._counts[host] - 1):
            return "127.0.0.1"
        if behaviour == "dns_failure":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return "127.0.0.2"

    def getaddrinfo(
        self, host: str, port: int | None, *_: object, **__: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Stands in for the system's function."""
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self.find(host), port or 0))]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Stands in for the system's resolver."""
        found = self.find(host)
        return [ResolveResult(hostname=host, host=found, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Does nothing."""


def ask_api(case: dict[str, Any], folder: Path, clock: ScaledClock) -> list[str]:
    """Asks for the documents or the table of a case."""
    outcomes: list[str] = []
    with ExitStack() as stack:
        clients: dict[str, ApiClient] = {}
        for address in case["addresses"]:
            base, _, item = address.rpartition("/")
            if base not in clients:
                endpoint = Endpoint(url=base, requests_per_s=1000.0, in_flight=1)
                client = ApiClient(
                    endpoint, state=folder / "state", token=SecretStr(case["key"]), clock=clock, limits=API_LIMITS
                )
                clients[base] = stack.enter_context(client)
            try:
                outcomes.append(_ask_one(clients[base], case["kind"], item, folder))
            except ApiError as error:
                outcomes.append(f"error:{error.status}")
    return outcomes


def _ask_one(client: ApiClient, kind: str, item: str, folder: Path) -> str:
    if kind == "json":
        return "ok" if client.get_json(item).document == json.loads(GOOD["json"]) else "other"
    client.download(item, folder / "table", max_bytes=MAX_BYTES)
    left = [path.name for path in folder.glob("table.*")]
    return _compare((folder / "table").read_bytes(), "tsv") + (f" and left {left}" if left else "")


async def fetch_images(case: dict[str, Any], folder: Path, clock: ScaledClock, names: Names) -> list[str]:
    """Fetches the pictures of a case, one after the other."""
    hosts = ImageHosts(requests_per_s=1000.0, robots=False)
    state, allowed, outcomes = folder / "state", allowed_from_environment(), list[str]()
    async with (
        Exchange(LIMITS, folder=state, allowed=allowed, resolver=names) as exchange,
        ImageFetcher(hosts, max_bytes=MAX_BYTES, state=state, clock=clock, exchange=exchange) as fetcher,
    ):
        for address in case["addresses"]:
            outcome = await fetcher.fetch(address)
            if isinstance(outcome, Fetched):
                outcomes.append(_compare(outcome.content, "image"))
            else:
                outcomes.append(f"refused:{outcome.reason}" if isinstance(outcome, Refused) else "postponed")
    return outcomes


def _compare(content: bytes, kind: str) -> str:
    good = GOOD[kind]
    return "ok" if content == good else "short" if content and good.startswith(content) else "other"


async def ask_all(order: dict[str, Any]) -> dict[str, Any]:
    """Asks for all cases, many at a time."""
    clock, names, places = ScaledClock(*order["clock"]), Names(), asyncio.Semaphore(AT_ONCE)
    safe_adapter.socket.getaddrinfo = names.getaddrinfo  # pyright: ignore[reportAttributeAccessIssue]
    threads = ThreadPoolExecutor(AT_ONCE)
    results: dict[str, Any] = {}

    async def ask(case: dict[str, Any]) -> None:
        async with places:
            folder, started = Path(order["folder"]) / case["name"].replace("/", "-"), time.monotonic()
            folder.mkdir()
            if case["kind"] == "image":
                outcomes = await fetch_images(case, folder, clock, names)
            else:
                loop = asyncio.get_running_loop()
                outcomes = await loop.run_in_executor(threads, ask_api, case, folder, clock)
            results[case["name"]] = {"outcomes": outcomes, "took_s": time.monotonic() - started}

    await asyncio.gather(*map(ask, order["cases"]))
    return {"results": results, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Returns this process's own peak; ``ru_maxrss`` would include that of the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    sys.stdout.write(json.dumps(asyncio.run(ask_all(json.load(sys.stdin)))))
