"""What robots.txt of a host lets us fetch (RFC 9309), asked at most once a day for each host.

Knows no network: the caller fetches. The rules are read by ``urllib.robotparser``, which takes wildcards within paths
literally.
"""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.robotparser import RobotFileParser

from yarl import URL

from minimagen.sources.outcomes import Fetched, Postponed, Refused
from minimagen.sources.robots_cache import RobotsCache, RobotsText
from minimagen.sources.user_agent import NAME

FetchText = Callable[[str], Awaitable[Fetched | Refused | Postponed]]
_NONE_THERE = frozenset({"http_403", "http_404", "http_410", "http_4xx", "http_2xx", "http_3xx", "too_many_redirects"})
"""A file that is not there forbids nothing (RFC 9309, 2.3.1.3)."""
_BROKEN = frozenset({"http_5xx", "too_large", "incomplete", "bad_response", "bad_redirect"})
"""A file that is there but cannot be had forbids everything (RFC 9309, 2.3.1.4)."""


class RobotsRules:
    """The rules of all hosts that were asked for them."""

    def __init__(self, fetch: FetchText, cache: RobotsCache) -> None:
        self._fetch, self._cache = fetch, cache
        self._rules: dict[str, asyncio.Task[RobotFileParser | Refused | Postponed]] = {}

    async def refusal(self, url: URL) -> Refused | Postponed | None:
        """Returns why ``url`` may not be fetched, None if it may."""
        origin = str(url.origin())
        if origin not in self._rules:
            self._rules[origin] = asyncio.create_task(self._rules_of(origin))
        rules = await asyncio.shield(self._rules[origin])
        if not isinstance(rules, RobotFileParser):
            return rules
        return None if rules.can_fetch(NAME, str(url)) else Refused("robots", f"{origin}/robots.txt forbids it")

    async def close(self) -> None:
        """Gives up what is still being asked."""
        for task in self._rules.values():
            task.cancel()
        await asyncio.gather(*self._rules.values(), return_exceptions=True)

    async def _rules_of(self, origin: str) -> RobotFileParser | Refused | Postponed:
        kept = self._cache.find(origin)
        if kept is None:
            answer = await self._fetch(f"{origin}/robots.txt")
            if isinstance(answer, Fetched):
                kept = RobotsText("", answer.content)
            elif isinstance(answer, Refused) and answer.reason in _NONE_THERE | _BROKEN:
                kept = RobotsText(answer.reason, b"")
            else:
                return answer  # the host itself cannot be reached: so it is for the picture
            self._cache.keep(origin, kept)
        if kept.outcome in _BROKEN:
            return Refused("robots", f"{origin}/robots.txt: {kept.outcome}")
        rules = RobotFileParser()
        rules.parse(kept.text.decode("utf-8", "replace").splitlines())
        return rules
