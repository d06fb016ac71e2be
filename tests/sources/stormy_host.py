"""A simulated host in simulated time that has had enough of everyone again and again, and remembers who did not wait.

Stands in for ``Exchange``: what goes over a wire is tested elsewhere, and an hour of it would take an hour.
"""

import bisect
import random
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from yarl import URL

from minimagen.sources.body import Body
from minimagen.sources.exchange import Answer, Trouble
from minimagen.sources.outcomes import Refused
from tests.simulators.clocks import JumpingLoop

PICTURE = b"\x89PNG\r\n\x1a\n one and all"


@dataclass(slots=True)
class StormyHost:
    """Answers 429 during storms, and a picture between them."""

    clock: JumpingLoop
    folder: Path
    random: random.Random
    storms: list[tuple[float, float]]
    """Beginnings and ends, in order."""
    forms: tuple[str, ...] = ("seconds", "date", "missing")
    asked_at: list[float] = field(default_factory=list)
    """When each request was made."""
    too_early: int = 0
    """Requests before the end of a pause that had been asked for."""
    refused: int = 0
    _quiet_until: float = 0.0

    async def get(self, url: URL, max_bytes: int, *, is_picture: bool) -> Answer | Refused | Trouble:
        """Answers after a while."""
        self.asked_at.append(self.clock.now())
        self.too_early += self.clock.now() < self._quiet_until
        await self.clock.sleep_async(self.random.uniform(0.05, 0.3))
        end = self._end_of_storm()
        if end is None:
            body = Body(self.folder)
            body.add(PICTURE)
            return Answer(200, {}, body)
        self.refused += 1
        return Answer(429, self._headers(end - self.clock.now()), None)

    def _end_of_storm(self) -> float | None:
        """Returns when the storm of this moment ends, None if there is none."""
        index = bisect.bisect(self.storms, (self.clock.now(), float("inf"))) - 1
        return self.storms[index][1] if index >= 0 and self.clock.now() < self.storms[index][1] else None

    def _headers(self, left_s: float) -> dict[str, list[str]]:
        form = self.random.choice(self.forms)
        pause_s = max(1, round(self.random.uniform(0.3, 1.0) * left_s))
        if form == "missing":
            return {}
        self._quiet_until = max(self._quiet_until, self.clock.now() + pause_s - (form == "date"))
        return {"retry-after": [str(pause_s) if form == "seconds" else formatdate(self.clock.wall() + pause_s)]}


def draw_storms(draw: random.Random, start: float, length_s: float) -> list[tuple[float, float]]:
    """Returns storms of 10 to 120 s with 40 to 120 s between them: none is passed by in a pause."""
    storms: list[tuple[float, float]] = []
    now = start
    while now < start + length_s:
        begin = now + draw.uniform(40.0, 120.0)
        storms.append((begin, now := begin + draw.uniform(10.0, 120.0)))
    return storms
