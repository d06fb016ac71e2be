"""Time limits of requests that run at the same time, watched by one task.

Timers of its own for each request take a fifteenth of the time of a small picture. Knows no protocol.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_LONGEST_TICK_S = 0.25
_TICKS = 10
"""Looks within the shorter limit, at least: a request may take so much of it longer."""


@dataclass(slots=True, eq=False)
class Watched:
    """A request within its limits; whoever makes it tells when something came."""

    task: asyncio.Task[object]
    num_cancelling: int
    """Cancellations of the task from elsewhere that were there before."""
    ends_at: float
    heard_at: float
    """When something came last, on the loop's clock."""
    overdue: str | None = None
    """Which limit it broke."""


class TimeLimits:
    """Ends requests that take too long in all, or too long without a byte; an asynchronous context manager."""

    def __init__(self, total_s: float, idle_s: float) -> None:
        self._total_s, self._idle_s = total_s, idle_s
        self._tick_s = min(_LONGEST_TICK_S, total_s / _TICKS, idle_s / _TICKS)
        self._requests: set[Watched] = set()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._watcher is not None
        self._watcher.cancel()
        with suppress(asyncio.CancelledError):
            await self._watcher

    @contextmanager
    def request(self, *, silent_s: float) -> Iterator[Watched]:
        """Limits the block, which belongs to one task.

        Args:
            silent_s: that may pass before the time without a byte begins, of a connection that is still to be made.

        Raises:
            TimeoutError: a limit was broken; which, it says.
        """
        task, now = asyncio.current_task(), asyncio.get_running_loop().time()
        assert task is not None, "used within a task"
        watched = Watched(task, task.cancelling(), now + self._total_s, now + silent_s)
        self._requests.add(watched)
        try:
            yield watched
        except asyncio.CancelledError:
            if watched.overdue is None or task.uncancel() > watched.num_cancelling:
                raise  # by somebody else
            raise TimeoutError(watched.overdue) from None
        finally:
            self._requests.discard(watched)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._tick_s)
            self._end_overdue(loop.time())

    def _end_overdue(self, now: float) -> None:
        for one in self._requests:
            if one.overdue is None:
                one.overdue = self._broken_by(one, now)
                if one.overdue is not None:
                    one.task.cancel()

    def _broken_by(self, one: Watched, now: float) -> str | None:
        if now >= one.ends_at:
            return f"not whole after {self._total_s:g} s"
        return f"nothing came for {self._idle_s:g} s" if now >= one.heard_at + self._idle_s else None
