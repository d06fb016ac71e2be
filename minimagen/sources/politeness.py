"""Turns at hosts: at most so many requests a second, so many at a time, and none while a host wants a pause.

The rate and the pauses hold for all processes of the machine (host_table.py), the number at a time for this process.
Knows no protocol: the caller says how a request ended.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from minimagen.sources.clock import Clock
from minimagen.sources.host_table import Closed, HostTable, Turn
from minimagen.sources.retries import full_jitter_s

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class HostParkedError(Exception):
    """A host wants a pause that is too long to wait for; ``wait_s`` is what is left of it."""

    def __init__(self, host: str, wait_s: float) -> None:
        super().__init__(f"{host} wants to be left alone for {wait_s:.0f} s")
        self.wait_s = wait_s


class Visit:
    """One request at a host whose turn has come; the caller tells how it ended."""

    def __init__(self, table: HostTable, host: str, turn: Turn, longest_s: float) -> None:
        self._table, self._host, self._turn, self._longest_s = table, host, turn, longest_s
        self._is_told = False

    def answered(self) -> None:
        """The host answered, and wants no pause."""
        self._is_told = True
        if self._turn.is_after_pause:
            self._table.answered(self._host)

    def wants_pause(self, pause_s: float | None) -> bool:
        """The host wants a pause, of full jitter if it does not say how long; returns whether it is parked now."""
        self._is_told = True
        if pause_s is None:
            pause_s = full_jitter_s(self._table.num_pauses(self._host), _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        return self._table.pause(self._host, self._turn, pause_s, self._longest_s)

    def end(self) -> None:
        """The request is over; without any word on it, it had no answer."""
        if not self._is_told and self._turn.is_after_pause:
            self._table.failed(self._host)


@dataclass(slots=True)
class _Places:
    semaphore: asyncio.Semaphore
    num_users: int = 0


@dataclass(slots=True)
class Turns:
    """Turns of the tasks of one process, at many hosts."""

    folder: Path
    """Shared by all processes of the machine that shall be polite together."""
    requests_per_s: float
    per_host: int
    in_flight: int
    max_wait_s: float
    """A host whose pauses add up to more is parked."""
    clock: Clock
    _table: HostTable = field(init=False)
    _all: asyncio.Semaphore = field(init=False)
    _places: dict[str, _Places] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._table = HostTable(self.folder, self.clock)
        self._all = asyncio.Semaphore(self.in_flight)

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[Visit]:
        """Waits for a turn at ``host`` and holds its place while the block runs.

        Raises:
            HostParkedError: there will be none for longer than anyone waits.
        """
        places = self._places.setdefault(host, _Places(asyncio.Semaphore(self.per_host)))
        places.num_users += 1
        try:
            async with places.semaphore:
                visit = await self._wait(host)
                try:
                    yield visit
                finally:
                    self._all.release()
                    visit.end()
        finally:
            places.num_users -= 1
            if not places.num_users:
                del self._places[host]

    async def _wait(self, host: str) -> Visit:
        """Returns with a place among all requests taken; pauses are waited for without one."""
        while True:
            await self._all.acquire()
            is_due = False
            try:
                turn = self._table.take_turn(host, 1.0 / self.requests_per_s)
                if isinstance(turn, Turn):
                    if turn.wait_s > 0.0:
                        await self.clock.sleep_async(turn.wait_s)
                    is_due = turn.wait_s <= 0.0 or self._table.holds(host, turn)
                    if is_due:
                        return Visit(self._table, host, turn, self.max_wait_s)
            finally:
                if not is_due:
                    self._all.release()
            if isinstance(turn, Closed):
                _refuse_parked(host, turn, self.max_wait_s)
                await self.clock.sleep_async(turn.wait_s)


class BlockingTurns:
    """Turns of the threads of one process, at one host."""

    def __init__(
        self, folder: Path, host: str, *, requests_per_s: float, in_flight: int, max_wait_s: float, clock: Clock
    ) -> None:
        self._table, self._host, self._clock = HostTable(folder, clock), host, clock
        self._interval_s, self._max_wait_s = 1.0 / requests_per_s, max_wait_s
        self._places = threading.Semaphore(in_flight)

    @contextmanager
    def turn(self) -> Iterator[Visit]:
        """Waits for a turn and holds its place while the block runs.

        Raises:
            HostParkedError: there will be none for longer than anyone waits.
        """
        with self._places:
            visit = self._wait()
            try:
                yield visit
            finally:
                visit.end()

    def _wait(self) -> Visit:
        while True:
            turn = self._table.take_turn(self._host, self._interval_s)
            if isinstance(turn, Closed):
                _refuse_parked(self._host, turn, self._max_wait_s)
            if turn.wait_s > 0.0:
                self._clock.sleep(turn.wait_s)
            if isinstance(turn, Turn) and (turn.wait_s <= 0.0 or self._table.holds(self._host, turn)):
                return Visit(self._table, self._host, turn, self._max_wait_s)


def _refuse_parked(host: str, closed: Closed, max_wait_s: float) -> None:
    if closed.is_parked or closed.wait_s > max_wait_s:
        raise HostParkedError(host, closed.wait_s)
