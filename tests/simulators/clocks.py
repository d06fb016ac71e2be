"""Clocks whose hours are short: one that runs faster than the system's, and an event loop that waits for nothing."""

import asyncio
import selectors
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """The system's clock, running ``factor`` times as fast since ``started``; the same in all processes."""

    factor: float
    started: float
    """On CLOCK_MONOTONIC."""
    wall_started: float

    def now(self) -> float:
        """Returns seconds since the start of the machine, those since ``started`` being short ones."""
        return self.started + (time.monotonic() - self.started) * self.factor

    def wall(self) -> float:
        """Returns POSIX time, its seconds being as short."""
        return self.wall_started + self.now() - self.started

    def sleep(self, wait_s: float) -> None:
        """Waits for short seconds."""
        time.sleep(wait_s / self.factor)

    async def sleep_async(self, wait_s: float) -> None:
        """Waits for short seconds."""
        await asyncio.sleep(wait_s / self.factor)


class JumpingSelector(selectors.DefaultSelector):
    """Returns at once, as if the time had passed that it was to wait."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns what is ready; if nothing is, lets the time pass."""
        ready = super().select(0)
        assert ready or timeout is not None, "everyone waits, and for no time: it would never end"
        if not ready and timeout is not None:
            self.passed_s += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop for tasks that only wait for times: hours of waiting pass at once. It is its own ``Clock``."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Returns the time that has passed by."""
        return 1000.0 + self._jumping.passed_s

    now = time

    def wall(self) -> float:
        """Returns POSIX time."""
        return 1.8e9 + self.time()

    def sleep(self, wait_s: float) -> None:
        """Lets the time pass for all."""
        self._jumping.passed_s += wait_s

    async def sleep_async(self, wait_s: float) -> None:
        """Waits, holding the task only."""
        await asyncio.sleep(wait_s)
