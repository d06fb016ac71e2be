"""Timing of several contestants in turn: A B C, B C A, C A B, ..., so that a drift of the machine hits all alike.

Knows nothing of what a contestant does. Medians and ratios are what to quote; a wide spread says that the machine was
not quiet. Seconds of processor time are measured beside those of the clock: with one thread they hardly depend on what
else runs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Protocol, Self

from minimagen.config import ConfigError


@dataclass(frozen=True, slots=True)
class Timing:
    """One measurement."""

    wall_s: float
    cpu_s: float


class Contestant(Protocol):
    """What can be asked to run some steps."""

    def run(self, num_steps: int) -> Timing:
        """Runs the steps and returns what they took."""
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """A contestant of this process."""

    step: Callable[[], None]
    prepare: Callable[[], None] = lambda: None
    """Called before each measurement, untimed."""

    def run(self, num_steps: int) -> Timing:
        """Runs the steps and returns what they took."""
        self.prepare()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            self.step()
        return Timing(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def worker_environment(num_threads: int) -> dict[str, str]:
    """Returns the surroundings of a process that is measured; the project's own modules do not leak into a peer's."""
    return os.environ | {"OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}


class Worker:
    """A contestant in a process of its own, which answers as ``peer_side.case.serve`` does.

    Raises:
        ConfigError: it died before it was ready; the message ends with what it said.
    """

    def __init__(self, command: Sequence[str], *, num_threads: int, errors: Path) -> None:
        self._name, self._errors = " ".join(command[:3]), errors
        with errors.open("w", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                command,
                env=worker_environment(num_threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        self.facts: Mapping[str, object] = self._answer()

    def run(self, num_steps: int) -> Timing:
        """Lets the process run the steps and returns what they took there."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{num_steps}\n")
        self._process.stdin.flush()
        return Timing(**self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            said = self._errors.read_text(encoding="utf-8").strip().splitlines()[-3:]
            raise ConfigError(f"{self._name} died: {' / '.join(said)}")
        return json.loads(line)


@dataclass(frozen=True, slots=True)
class Speed:
    """Steps or items a second over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def speed_of(timings: Sequence[Timing], num_items: float, *, of_cpu: bool = False) -> Speed:
    """Returns items a second, by the clock or by the processor, if each measurement handled ``num_items``."""
    rates = sorted(num_items / (one.cpu_s if of_cpu else one.wall_s) for one in timings)
    return Speed(median(rates), rates[0], rates[-1])


def ratio_of(ours: Sequence[Timing], theirs: Sequence[Timing], *, of_cpu: bool = False) -> Speed:
    """Returns how many times faster ``ours`` is, round by round."""
    pairs = zip(ours, theirs, strict=True)
    ratios = sorted(b.cpu_s / a.cpu_s if of_cpu else b.wall_s / a.wall_s for a, b in pairs)
    return Speed(median(ratios), ratios[0], ratios[-1])


def in_turn(contestants: Mapping[str, Contestant], *, num_rounds: int, num_steps: int) -> dict[str, list[Timing]]:
    """Measures every contestant once a round, another one first in each."""
    names = list(contestants)
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    for turn in range(num_rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            timings[name].append(contestants[name].run(num_steps))
        print(f"round {turn + 1} of {num_rounds}", file=sys.stderr, flush=True)
    return timings


@dataclass(frozen=True, slots=True)
class Order:
    """A worker before its process is started."""

    command: Sequence[str]
    num_threads: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker told of itself, and its measurements."""

    facts: Mapping[str, Any]
    timings: Sequence[Timing]


def measure_workers(orders: Mapping[str, Order], *, num_rounds: int, num_steps: int) -> dict[str, Measured]:
    """Starts a worker for every order, measures them in turn and ends them.

    Raises:
        ConfigError: one died before it was ready.
    """
    with ExitStack() as held:
        errors = Path(held.enter_context(tempfile.TemporaryDirectory()))
        workers: dict[str, Worker] = {}
        for number, (name, order) in enumerate(orders.items()):
            print(f"{name} warms up", file=sys.stderr, flush=True)
            worker = Worker(order.command, num_threads=order.num_threads, errors=errors / f"{number}.txt")
            workers[name] = held.enter_context(worker)
        timings = in_turn(workers, num_rounds=num_rounds, num_steps=num_steps)
        return {name: Measured(worker.facts, timings[name]) for name, worker in workers.items()}
