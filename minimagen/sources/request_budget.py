"""A budget of requests per hour that holds over runs and processes: a small locked file with the last hour's requests.

Knows no service. A request is written down before it is made, so that one which never came to an end counts too.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minimagen.files import canonical_json
from minimagen.sources.clock import Clock

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Spent:
    requests: tuple[float, ...]
    """POSIX times, oldest first."""
    blocked_until: float


class RequestBudget:
    """At most ``per_hour`` requests in any hour, whoever makes them."""

    def __init__(self, path: Path, *, per_hour: int, clock: Clock) -> None:
        """Keeps the budget in the file ``path``; without the file nothing has been spent."""
        self._path = path
        self._per_hour = per_hour
        self._clock = clock

    def take(self) -> bool:
        """Writes a request down, or returns False where none is left for now."""
        with self._open() as descriptor:
            now = self._clock.wall()
            spent = self._read(descriptor, now)
            is_granted = spent.blocked_until <= now and len(spent.requests) < self._per_hour
            _write(descriptor, _Spent((*spent.requests, now), 0.0) if is_granted else spent)
            return is_granted

    def block(self) -> None:
        """Lets nothing through for an hour: the service has said that it is too much."""
        with self._open() as descriptor:
            now = self._clock.wall()
            _write(descriptor, _Spent(self._read(descriptor, now).requests, now + HOUR_S))

    @contextmanager
    def _open(self) -> Iterator[int]:
        """Opens the file and holds its lock, which the kernel frees when its holder dies."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, now: float) -> _Spent:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        if not content:
            return _Spent((), 0.0)
        try:
            record = json.loads(content.partition(b"\n")[0])
            times = [float(time) for time in record["requests"]]
            blocked_until = float(record["blocked_until"])
        except (ValueError, KeyError, TypeError):
            return _Spent((now,) * self._per_hour, 0.0)  # unreadable: as if all had been spent just now
        # What a clock that was set back left in the future counts as of now.
        recent = [min(time, now) for time in times if time > now - HOUR_S]
        return _Spent(tuple(sorted(recent)), min(blocked_until, now + HOUR_S))


def _write(descriptor: int, spent: _Spent) -> None:
    """Writes the one line, in place: what a kill leaves behind it is cut off by the next."""
    line = canonical_json({"requests": spent.requests, "blocked_until": spent.blocked_until}).encode() + b"\n"
    os.pwrite(descriptor, line, 0)
    os.ftruncate(descriptor, len(line))
    os.fsync(descriptor)
