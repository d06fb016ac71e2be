"""What all processes of a machine know of the hosts they ask: when the next request is due, and who wants a pause.

A folder of small files, each for the hosts of one hash, read and written under a lock that the kernel frees when its
holder dies. Times are of ``Clock.now``, which starts anew with the machine, so each file names the boot it is of.
Knows no protocol; a lost folder costs only what was known.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minimagen.sources.clock import Clock

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FORGET_S = 3600.0
_PROBE_S = 60.0
_FAST_S = 0.001
_LEASE_S = 0.01
_LEASE_TURNS = 32


@dataclass
class HostRecord:
    """One host; without slots, so that ``vars`` is what is written."""

    next_at: float = 0.0
    """When the next request is due."""
    closed_until: float = 0.0
    """Until then nothing is asked: the host wanted a pause."""
    is_parked: bool = False
    """The pause is longer than anyone waits for."""
    paused_s: float = 0.0
    """Pauses since its last answer that was none."""
    num_pauses: int = 0
    """Pauses since then; while there are any, one request at a time finds out whether they are over."""
    probed_until: float = 0.0
    """Until then one request is that one."""
    generation: int = 0
    """Counts pauses: a turn given before one is void."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request is due in ``wait_s``."""

    wait_s: float
    interval_s: float
    """Between it and the next one."""
    generation: int
    is_after_pause: bool = False
    """An answer would be the first since the host wanted a pause."""


@dataclass(slots=True)
class _Lease:
    """Turns that were taken and not used yet."""

    turn: Turn
    num_turns: int
    ends_at: float


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing is to be asked; look again in ``wait_s``."""

    wait_s: float
    is_parked: bool


def hosts_folder(state: Path) -> Path:
    """Returns where this machine keeps what it knows of hosts: beside a source's state, and apart from other machines.

    Args:
        state: runs/ingest/<source>, perhaps on a disk that several machines see.
    """
    return state.parent / "hosts" / _boot()


class HostTable:
    """The hosts that the processes sharing ``folder`` ask."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._boot = _boot()
        self._threads = threading.Lock()
        self._paths: dict[str, str] = {}
        self._leases: dict[str, _Lease] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def take_turn(self, host: str, interval_s: float) -> Turn | Closed:
        """Returns when the caller may ask, ``interval_s`` after the turn before, or that the host is closed.

        Of a host that may be asked a thousand times a second or more, a mirror of one's own, several turns are taken
        at once; other processes' pauses are seen after a hundredth of a second.
        """
        lease = self._leases.get(host)
        if lease is not None and lease.num_turns > 0 and self._clock.now() < lease.ends_at:
            lease.num_turns -= 1
            return lease.turn
        with self._record(host) as record:
            now = self._clock.now()
            if record.closed_until > now:
                return Closed(record.closed_until - now, record.is_parked)
            if record.is_parked:
                record.is_parked, record.paused_s = False, 0.0
            if record.num_pauses:
                if record.probed_until > now:
                    return Closed(min(1.0, record.probed_until - now), is_parked=False)
                record.probed_until = now + _PROBE_S
            due = max(now, record.next_at)
            turn = Turn(due - now, interval_s, record.generation, record.num_pauses > 0)
            num_turns = 1
            if interval_s <= _FAST_S and due == now and not record.num_pauses:
                num_turns = min(_LEASE_TURNS, int(_LEASE_S / interval_s))
                self._leases[host] = _Lease(turn, num_turns - 1, now + _LEASE_S)
            record.next_at = due + num_turns * interval_s
            return turn

    def holds(self, host: str, turn: Turn) -> bool:
        """Returns whether a turn is still good: nobody was told to pause since it was given."""
        with self._record(host) as record:
            return record.generation == turn.generation

    def answered(self, host: str) -> None:
        """Records that a host answered and wants no pause."""
        with self._record(host) as record:
            record.paused_s, record.num_pauses, record.probed_until, record.is_parked = 0.0, 0, 0.0, False

    def failed(self, host: str) -> None:
        """Records that a request had no answer: the next one may find out whether a pause is over."""
        with self._record(host) as record:
            record.probed_until = 0.0

    def pause(self, host: str, turn: Turn, pause_s: float, longest_s: float) -> bool:
        """Closes a host for ``pause_s``; of several answers to requests of one time, the longest pause counts.

        Returns:
            Whether it is parked: its pauses since its last good answer add up to more than ``longest_s``.
        """
        self._leases.pop(host, None)
        with self._record(host) as record:
            now = self._clock.now()
            record.num_pauses += record.generation == turn.generation
            if now + pause_s > record.closed_until:
                record.paused_s += now + pause_s - max(now, record.closed_until)
                record.closed_until = now + pause_s
                record.generation += 1
            # Turns yet to come are void now, so the next one follows the last that came, at ``now`` at the latest.
            record.next_at = max(record.closed_until, min(record.next_at, now + turn.interval_s))
            record.is_parked = record.paused_s > longest_s
            record.probed_until = 0.0
            return record.is_parked

    def num_pauses(self, host: str) -> int:
        """Returns how many pauses a host wanted since its last good answer."""
        with self._record(host) as record:
            return record.num_pauses

    @contextmanager
    def _record(self, host: str) -> Iterator[HostRecord]:
        with self._threads:
            descriptor = os.open(self._path_of(host), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                records = self._read(descriptor)
                before = dict(records.get(host, {}))
                record = _record_of(before)
                yield record
                if vars(record) != before:
                    self._write(descriptor, records | {host: vars(record)})
            finally:
                os.close(descriptor)

    def _path_of(self, host: str) -> str:
        if host not in self._paths:
            self._paths[host] = str(self._folder / f"{hashlib.sha256(host.encode()).hexdigest()[:2]}.json")
        return self._paths[host]

    def _read(self, descriptor: int) -> dict[str, dict[str, object]]:
        first_line = os.pread(descriptor, os.fstat(descriptor).st_size, 0).partition(b"\n")[0]
        try:
            content = json.loads(first_line)
            return content["hosts"] if content["boot"] == self._boot else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def _write(self, descriptor: int, records: dict[str, dict[str, object]]) -> None:
        oldest = self._clock.now() - _FORGET_S
        kept = {host: entry for host, entry in records.items() if _last_of(_record_of(entry)) > oldest}
        content = json.dumps({"boot": self._boot, "hosts": kept}).encode() + b"\n"
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""


def _record_of(entry: dict[str, object]) -> HostRecord:
    try:
        return HostRecord(**entry)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return HostRecord()


def _last_of(record: HostRecord) -> float:
    return max(record.next_at, record.closed_until)
