"""Time as what waits for hosts needs it: a protocol, and the system's clock. Other clocks may have shorter hours."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Seconds since the machine started: one scale for all its processes, never set back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, for what servers name by date."""
        ...

    def sleep(self, wait_s: float) -> None:
        """Waits, holding the thread."""
        ...

    async def sleep_async(self, wait_s: float) -> None:
        """Waits, holding the task only."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Returns CLOCK_MONOTONIC."""
        return time.monotonic()

    def wall(self) -> float:
        """Returns POSIX time."""
        return time.time()

    def sleep(self, wait_s: float) -> None:
        """Waits, holding the thread."""
        time.sleep(wait_s)

    async def sleep_async(self, wait_s: float) -> None:
        """Waits, holding the task only."""
        await asyncio.sleep(wait_s)


SYSTEM_CLOCK = SystemClock()
