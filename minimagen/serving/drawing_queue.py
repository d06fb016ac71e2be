"""One thread that draws, and the line before it: short, with a deadline for everyone, and emptied on the way out.

Knows neither what is drawn nor who asks.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

MAX_WAITING = 32
"""Requests that may wait beside the one that is drawn."""
Check = Callable[[], None]
Job = Callable[[Check], Any]
"""Does the work, and calls what it is given after every step of it."""


class RefusedError(RuntimeError):
    """No answer will come, and why."""


class FullError(RefusedError):
    """The line is full."""

    def __init__(self, num_waiting: int, retry_after_s: int) -> None:
        """``retry_after_s``: when there should be room again."""
        super().__init__(f"{num_waiting} requests are waiting already: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class StoppingError(RefusedError):
    """The server is on its way out."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class DeadlineError(RefusedError):
    """The work was not done in time; it is given up at its next step."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"not drawn within {deadline_s:g} s: ask for fewer pictures or steps, or try again later")


class GoneError(RefusedError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("the client has gone")


class Ticket:
    """A place in the line; its future is settled once, by the work or by who gives it up."""

    def __init__(self, job: Job, deadline_s: float) -> None:
        self.future: Future[Any] = Future()
        self._job = job
        self._deadline_s = deadline_s
        self._end_s = time.monotonic() + deadline_s

    def give_up(self, refusal: RefusedError) -> None:
        """Settles the future at once; the work ends at its next step, or never starts."""
        with suppress(InvalidStateError):
            self.future.set_exception(refusal)

    def late(self) -> None:
        """Gives the work up because its time is over."""
        self.give_up(DeadlineError(self._deadline_s))

    def run(self) -> None:
        """Does the work and settles the future; nothing is raised here."""
        try:
            self._check()
            result = self._job(self._check)
            with suppress(InvalidStateError):
                self.future.set_result(result)
        except Exception as error:  # noqa: BLE001  it belongs to who waits for the future
            with suppress(InvalidStateError):
                self.future.set_exception(error)

    def _check(self) -> None:
        if time.monotonic() > self._end_s:
            self.late()
        if self.future.done():
            raise RefusedError("given up")


class DrawingQueue:
    """Does jobs one after another in a thread of its own.

    Determinism: jobs are done in the order they came.
    """

    def __init__(self, deadline_s: float, max_waiting: int = MAX_WAITING) -> None:
        """``deadline_s``: how long a request may take, waiting included."""
        self.deadline_s = deadline_s
        self._max_waiting = max_waiting
        self._line: deque[Ticket] = deque()
        self._drawn: Ticket | None = None
        self._changed = threading.Condition()
        self._is_stopping = False
        self._mean_s = 1.0
        self._thread = threading.Thread(target=self._work, name="drawing", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Ticket:
        """Puts a job in the line.

        Raises:
            FullError: too many wait already.
            StoppingError: the line is closed.
        """
        with self._changed:
            if self._is_stopping:
                raise StoppingError
            num_open = len(self._line) + (self._drawn is not None)
            if num_open > self._max_waiting:
                raise FullError(self._max_waiting, max(1, math.ceil(self._mean_s * num_open / 2)))
            ticket = Ticket(job, self.deadline_s)
            self._line.append(ticket)
            self._changed.notify()
        ticket.future.add_done_callback(lambda _: self._leave(ticket))
        return ticket

    def close(self) -> None:
        """Lets nobody in any more; what is in the line is still done."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def give_up(self) -> None:
        """Gives up everything in the line and closes it."""
        self.close()
        with self._changed:
            waiting = [*self._line, *([self._drawn] if self._drawn else [])]
        for ticket in waiting:
            ticket.give_up(StoppingError())

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread to end; returns whether it did."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _leave(self, ticket: Ticket) -> None:
        """Who is given up while waiting frees its place at once, however long the step before it takes."""
        with self._changed, suppress(ValueError):
            self._line.remove(ticket)

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            start_s = time.monotonic()
            ticket.run()
            self._mean_s += 0.2 * (time.monotonic() - start_s - self._mean_s)

    def _next(self) -> Ticket | None:
        with self._changed:
            self._drawn = None
            self._changed.wait_for(lambda: self._line or self._is_stopping)
            self._drawn = self._line.popleft() if self._line else None
            return self._drawn
