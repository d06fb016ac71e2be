"""Who kills: starts trainings in a process that has torch imported, and sends them signals when a test says so."""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.stages.tiny_project import CHECKOUT, run_folder


@dataclass(frozen=True, slots=True)
class Blow:
    """Signals for one training: as soon as it tells a step, or so many seconds after that, or after its start."""

    numbers: Sequence[int] = (signal.SIGKILL,)
    at_step: int | None = None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a training ended."""

    code: int
    last_step: int
    """The last one it told; 0 if none."""
    is_struck: bool
    took_s: float
    """From the signal to the end; from start to end if there was none."""


class Trainings:
    """Trainings in forks of one process, one after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.stages.killable_training"]
        self._server = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._unread = b""
        assert self._line() == ["ready"]

    def run(self, root: Path, unet: str, settings: dict[str, object], blow: Blow | None = None) -> Ended:
        """Runs one training, with a blow or without; a kill from outside is no failure of its step."""
        for path in root.glob("runs/train/*/attempt"):
            path.unlink()
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"root": str(root), "unet": unet, "settings": settings}).encode() + b"\n")
        self._server.stdin.flush()
        child, step, started_s = 0, 0, time.monotonic()
        due_s, struck_s = math.inf, math.inf
        while True:
            match self._line(due_s if math.isinf(struck_s) else math.inf):
                case ["pid", number]:
                    child = int(number)
                    if blow is not None and blow.at_step is None:
                        due_s = started_s + blow.after_s
                case ["step", number]:
                    step = int(number)
                    if blow is not None and blow.at_step is not None and step >= blow.at_step and math.isinf(due_s):
                        due_s = time.monotonic() + blow.after_s
                case ["ended", code]:
                    is_struck = not math.isinf(struck_s)
                    return Ended(int(code), step, is_struck, time.monotonic() - (struck_s if is_struck else started_s))
                case _:
                    pass  # it is time
            if blow is not None and math.isinf(struck_s) and time.monotonic() >= due_s:
                struck_s = self._strike(child, blow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def _strike(self, child: int, blow: Blow) -> float:
        with suppress(ProcessLookupError):  # it ended just now
            for number in blow.numbers:
                os.kill(child, number)
        return time.monotonic()

    def _line(self, deadline_s: float = math.inf) -> list[str] | None:
        """Returns the next line, or None if there is none before the deadline."""
        assert self._server.stdout is not None
        while b"\n" not in self._unread:
            left_s = None if math.isinf(deadline_s) else max(0.0, deadline_s - time.monotonic())
            if not select.select([self._server.stdout], [], [], left_s)[0]:
                return None
            received = os.read(self._server.stdout.fileno(), 65536)
            assert received, "the process that starts trainings has died"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().split()


def newest_step(root: Path, unet: str) -> int:
    """Returns the step of the newest saved state by its name; 0 if there is none."""
    if not list((root / "runs/train").glob(f"{unet}-*")):
        return 0
    steps = [int(path.name.removeprefix("step-")) for path in run_folder(root, unet).glob("states/step-????????")]
    return max(steps, default=0)
