"""Processes of a longer life: started, started again when they die, and ended with all that they started.

Every descendant that loses its parent becomes a child of this process, so that none can be forgotten. Knows no Prefect.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from minimagen.training.interrupt import die_with_parent

MAX_STARTS = 5
"""A process that dies more often than this within ``CALM_S`` is not started again."""
CALM_S = 120.0
_PR_SET_CHILD_SUBREAPER = 36


class ServiceFailed(RuntimeError):
    """A process did not start, or died too often; the message says where its words are."""


@dataclass(slots=True)
class Service:
    """A process in a session of its own, and how to start it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    started_s: tuple[float, ...] = ()

    def start(self) -> None:
        """Starts it; it ends by SIGTERM if this process dies.

        Raises:
            ServiceFailed: it died too often.
        """
        now = time.monotonic()
        self.started_s = (*(at for at in self.started_s if now - at < CALM_S), now)
        if len(self.started_s) > MAX_STARTS:
            raise ServiceFailed(f"{self.name} died {MAX_STARTS} times within {CALM_S:.0f} s; see {self.log}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_child,
            )

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Returns once it is ready.

        Raises:
            ServiceFailed: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running:
                raise ServiceFailed(f"{self.name} did not start:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} is not ready after {timeout_s:.0f} s; see {self.log}")
            time.sleep(0.1)

    def last_words(self, num_lines: int = 15) -> str:
        """Returns the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-num_lines:])

    def end(self, number: signal.Signals, patience_s: float) -> None:
        """Sends its process a signal, and kills what is left of its session after a while."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def adopt_orphans() -> None:
    """Makes every descendant whose parent dies a child of this process. Linux only; elsewhere nothing happens."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(keep: Iterable[Service]) -> None:
    """Buries adopted children that have ended; those of ``keep`` are waited for by their owner."""
    own = {service.process.pid for service in keep if service.process is not None}
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def end_group_leaders(processes: Iterable[psutil.Process], patience_s: float) -> None:
    """Sends SIGTERM to the group of each process that leads one, and waits for them to end."""
    told: list[psutil.Process] = []
    for process in processes:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGTERM)
                told.append(process)
    psutil.wait_procs(told, timeout=patience_s)


def kill_descendants() -> None:
    """Kills whatever this process has started, directly or not, until nothing is left."""
    while children := psutil.Process().children(recursive=True):
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=5)


def _child() -> None:
    """A shell that starts us in its background has SIGINT ignored, which a worker stops by."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent()
