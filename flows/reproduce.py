"""One stage of dvc.yaml, brought up to date by DVC in a process of its own; a stop reaches the stage, which saves.

DVC alone decides whether the stage's command runs. Knows no order, no stage's name and no Prefect.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from flows.plan import Outcome
from minimagen.errors import BUSY_CODE
from minimagen.stages.repair import heal
from minimagen.training.interrupt import die_with_parent

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# "exited with 137" and "-9": the kernel killed it for memory, or somebody did; a stage goes on where it was.
_KILLED = re.compile(r"exited with (137|-9)$", re.MULTILINE)
_BUSY = re.compile(rf"exited with {BUSY_CODE}$|is busy, it is being blocked by|Unable to acquire lock", re.MULTILINE)
_NUM_LAST_LINES = 3


class StageFailed(RuntimeError):
    """A stage did not end well; the message names it and says what DVC said, and what the stage said before."""

    def __init__(self, stage: str, reason: str, last_lines: str = "") -> None:
        super().__init__("\n".join(filter(None, [f"stage {stage} failed: {reason}", last_lines])))
        self.was_killed = _KILLED.search(reason) is not None
        self.was_busy = _BUSY.search(reason) is not None
        """Another process works on the same; it will be through at some time."""


def reproduce(
    stage: str,
    say: Callable[[str], None],
    *,
    root: Path = Path(),
    environment: Mapping[str, str] | None = None,
    is_forced: bool = False,
) -> Outcome:
    """Runs `dvc repro` for one stage of a project, and stops the stage if this process is told to stop.

    Args:
        say: called with every line of DVC's and the stage's output.
        environment: variables that the stage finds besides those of this process.
        is_forced: the stage runs although nothing has changed.

    Raises:
        StageFailed: DVC or the stage's command failed.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]
    command += [*(["--force"] if is_forced else []), stage]
    lines: list[str] = []
    for line in heal(root):
        say(line)
    with signals_raise(), _dvc(command, root, environment or {}) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip():
                    lines.append(line.rstrip())
                    say(lines[-1])
        except BaseException as stop:
            # The stage saves and ends; its pipe is read to the end, or its last words would break it.
            if not isinstance(stop, Exception):
                ignore_signals()
            _stop_stage(psutil.Process(process.pid))
            for line in process.stdout:
                say(line.rstrip())
            raise
    if process.returncode != 0:
        raise _failure(stage, lines)
    return _outcome(stage, lines)


def _outcome(stage: str, lines: list[str]) -> Outcome:
    if f"Stage '{stage}' is cached - skipping run, checking out outputs" in lines:
        return "RunCache"
    return "Ran" if f"Running stage '{stage}':" in lines else "UpToDate"


def _failure(stage: str, lines: list[str]) -> StageFailed:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    rest = "\n".join([line for line in lines if not line.startswith("ERROR: ")][-_NUM_LAST_LINES:])
    return StageFailed(stage, "\n".join(errors), rest) if errors else StageFailed(stage, rest)


@contextmanager
def _dvc(command: list[str], root: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A running DVC in this process's group, so that a worker's kill reaches it; it dies with this process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    inherited |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        command,
        cwd=root,
        env=inherited | dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
    ) as process:
        yield process


def stop_stages() -> None:
    """Tells every stage that a thread of this process reproduces to save and end."""
    for dvc in psutil.Process().children():
        _stop_stage(dvc)


def _stop_stage(dvc: psutil.Process) -> None:
    """Tells what DVC started, or DVC itself before it has; DVC would ignore a signal while its command runs."""
    with suppress(psutil.NoSuchProcess):
        for descendant in dvc.children(recursive=True) or [dvc]:
            with suppress(psutil.NoSuchProcess):
                descendant.terminate()


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within it SIGTERM and SIGINT raise, as they do in a run of Prefect's, whose own handlers stay in place.

    Prefect tells a cancelled run from a crashed one only while it finds its handler. In any other thread than the main
    one nothing happens: there are no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    silent = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in silent:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in silent:
            if signal.getsignal(number) is _exit:
                signal.signal(number, signal.SIG_DFL)


def ignore_signals() -> None:
    """Lets a stop come to its end: it comes two or three times, from the group, a parent and a child."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    ignore_signals()
    raise SystemExit(128 + number)
