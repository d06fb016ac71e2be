"""Fetches pictures from hosts of any kind: politely, with a few tries, and never without an outcome.

Knows no source and decodes nothing. A host that asks for a pause gets it; one that asks for a longer one than anyone
waits for is left alone, and its pictures are postponed. Redirects are followed by hand, so that each hop is checked,
asked in its turn and looked up in robots.txt like a first address.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from yarl import URL

from minimagen.rows import Rejection
from minimagen.sources.addresses import Allowed, allowed_from_environment
from minimagen.sources.clock import SYSTEM_CLOCK, Clock
from minimagen.sources.exchange import Answer, Asks, Exchange, Limits, Trouble
from minimagen.sources.host_table import hosts_folder
from minimagen.sources.outcomes import Fetched, Postponed, Refused
from minimagen.sources.politeness import HostParkedError, Turns
from minimagen.sources.retries import full_jitter_s, retry_after_s
from minimagen.sources.robots import RobotsRules
from minimagen.sources.robots_cache import RobotsCache
from minimagen.sources.services import ImageHosts
from minimagen.sources.urls import check_url, host_of, redirected

MAX_REDIRECTS = 5
MAX_PAUSES = 50
"""Pauses that one picture waits for."""
_ROBOTS_BYTES = 512_000
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class _Pause:
    """The host wants a pause and gets it."""


class ImageFetcher:
    """Fetches pictures; a context manager, whose connections last as long as it does."""

    def __init__(
        self,
        hosts: ImageHosts,
        *,
        max_bytes: int,
        state: Path,
        num_processes: int = 1,
        clock: Clock = SYSTEM_CLOCK,
        exchange: Asks | None = None,
    ) -> None:
        """Prepares; asks nothing.

        Args:
            state: runs/ingest/<source>; beside it stands what all sources know of hosts.
            num_processes: that fetch at the same time; each gets its part of the hosts' places.
            exchange: makes the requests, and is the caller's to close; None is one within the limits of ``hosts``.
        """
        self._hosts, self._max_bytes, self._clock = hosts, max_bytes, clock
        self._allowed = allowed_from_environment()
        own = Exchange(Limits(hosts.deadline_s, hosts.idle_s), folder=state, allowed=self._allowed)
        self._own_exchange = own if exchange is None else None
        self._exchange = exchange or own
        self._turns = Turns(
            folder=hosts_folder(state),
            requests_per_s=hosts.requests_per_s,
            per_host=max(1, hosts.per_host // num_processes),
            in_flight=max(1, hosts.in_flight // num_processes),
            max_wait_s=hosts.max_wait_s,
            clock=clock,
        )
        cache = RobotsCache(hosts_folder(state) / "robots.sqlite", clock) if hosts.robots else None
        self._robots = None if cache is None else RobotsRules(self._fetch_robots, cache)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._own_exchange is not None:
            await self._stack.enter_async_context(self._own_exchange)
        if self._robots is not None:
            self._stack.push_async_callback(self._robots.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def fetch(self, url: str) -> Fetched | Refused | Postponed:
        """Returns the picture at ``url`` or why there is none."""
        return await self._follow(url, is_robots=False)

    async def _fetch_robots(self, url: str) -> Fetched | Refused | Postponed:
        return await self._follow(url, is_robots=True)

    async def _follow(self, text: str, *, is_robots: bool) -> Fetched | Refused | Postponed:
        url, num_hops, num_tries, num_pauses = check_url(text, self._allowed), 0, 0, 0
        if isinstance(url, Rejection):
            return Refused(url.reason, url.detail)
        while True:
            if self._robots is not None and not is_robots and (refusal := await self._robots.refusal(url)) is not None:
                return refusal
            step = await self._ask(url, is_robots)
            if isinstance(step, Fetched | Refused | Postponed):
                return step
            if isinstance(step, URL):
                num_hops, url = num_hops + 1, step
                if num_hops > MAX_REDIRECTS:
                    return Refused("too_many_redirects", f"more than {MAX_REDIRECTS}")
            elif isinstance(step, _Pause):
                num_pauses += 1
                if num_pauses > MAX_PAUSES:
                    return Postponed(f"{url.raw_host} asked for {num_pauses} pauses")
            else:
                num_tries += 1
                if num_tries >= self._hosts.attempts:
                    return Postponed(step.detail) if step.is_ours else Refused(step.reason, step.detail)
                await self._clock.sleep_async(full_jitter_s(num_tries - 1, _FIRST_WAIT_S, _LONGEST_WAIT_S))

    async def _ask(self, url: URL, is_robots: bool) -> Fetched | Refused | Postponed | URL | _Pause | Trouble:
        """Makes one request in its turn."""
        host, max_bytes = host_of(url), _ROBOTS_BYTES if is_robots else self._max_bytes
        try:
            async with self._turns.turn(host) as visit:
                answer = await self._exchange.get(url, max_bytes, is_picture=not is_robots)
                if isinstance(answer, Answer) and answer.status in (429, 503):
                    pause_s = retry_after_s(answer.header("retry-after"), self._clock)
                    if answer.status == 429 or (answer.status == 503 and pause_s is not None):
                        is_parked = visit.wants_pause(pause_s)
                        return Postponed(f"{host} wants a pause") if is_parked else _Pause()
                if not isinstance(answer, Trouble):
                    visit.answered()
        except HostParkedError as error:
            return Postponed(str(error))
        return _step_of(url, answer, self._allowed) if isinstance(answer, Answer) else answer


def _step_of(url: URL, answer: Answer, allowed: Allowed) -> Fetched | Refused | URL | Trouble:
    status = answer.status
    if status == 200:
        assert answer.body is not None, "status 200 without a body"
        return Fetched(answer.body, str(url))
    if status in (301, 302, 303, 307, 308):
        target = redirected(url, answer.header("location") or "", allowed)
        return Refused(target.reason, target.detail) if isinstance(target, Rejection) else target
    if status in (408, 425) or status >= 500:
        return Trouble("http_5xx" if status >= 500 else "http_4xx", f"status {status}")
    reason = f"http_{status}" if status in (403, 404, 410) else f"http_{status // 100}xx"
    return Refused(reason, f"status {status}")
