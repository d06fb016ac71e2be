"""One stage of dvc.yaml as a Prefect task: DVC in a process of its own, its words in the run's log.

DVC alone decides whether a stage runs; the state of the task says what it decided. Knows no order and no stage's name.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Literal

import psutil
from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from minimagen.training.interrupt import die_with_parent

Outcome = Literal["Ran", "RunCache", "UpToDate"]
"""The stage's command ran; its outs came from DVC's run cache; nothing had changed."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# "exited with 137" and "-9": the kernel killed it for memory, or somebody did; a stage goes on where it was.
_KILLED = re.compile(r"exited with (137|-9)$", re.MULTILINE)


class StageFailed(RuntimeError):
    """A stage did not end well; the message names it and says what DVC said."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"stage {stage} failed: {reason}")
        self.was_killed = _KILLED.search(reason) is not None


def is_worth_a_retry(_task: object, _run: object, state: State[object]) -> bool:
    """Whether running the stage once more can help: it was killed, not wrong, and nobody asked it to stop."""
    return isinstance(state.data, StageFailed) and state.data.was_killed


@task(task_run_name="{stage}", retries=2, retry_delay_seconds=[10, 60], retry_condition_fn=is_worth_a_retry)
def run_stage(stage: str) -> State[None]:
    """Lets DVC reproduce one stage; its inputs have to be up to date.

    Raises:
        StageFailed: DVC or the stage's command failed.
    """
    outcome = reproduce(stage, get_run_logger().info, parent_flow=flow_run.id)
    return Completed(name=outcome, message=f"{stage}: {outcome}")


@task(task_run_name="{stage}")
def pass_by(stage: str) -> State[None]:
    """Shows a stage whose inputs and outs are as they were; starts nothing."""
    return Completed(name="UpToDate", message=f"{stage}: UpToDate")


def reproduce(stage: str, say: Callable[[str], None], *, parent_flow: str | None = None) -> Outcome:
    """Runs `dvc repro` for one stage in the current folder, and stops the stage if this process is told to stop.

    Raises:
        StageFailed: DVC or the stage's command failed.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    lines: list[str] = []
    with _first_signal_only(), _dvc(command, parent_flow) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if lines[-1]:
                    say(lines[-1])
        except BaseException:
            # The stage saves and ends; its pipe is read to the end, or its last words would break it.
            _stop_stage(process)
            for line in process.stdout:
                say(line.rstrip())
            raise
    if process.returncode != 0:
        raise StageFailed(stage, _last_words(lines))
    return _outcome(stage, lines)


def _outcome(stage: str, lines: list[str]) -> Outcome:
    if f"Stage '{stage}' is cached - skipping run, checking out outputs" in lines:
        return "RunCache"
    return "Ran" if f"Running stage '{stage}':" in lines else "UpToDate"


def _last_words(lines: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "\n".join(errors or lines[-3:])


@contextmanager
def _dvc(command: list[str], parent_flow: str | None) -> Iterator["subprocess.Popen[str]"]:
    """A running DVC in this process's group, so that a worker's kill reaches it; it dies with this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT__")}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "MINIMAGEN_FLOW_RUN_ID": parent_flow or "",
    }
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
    ) as process:
        yield process


def _stop_stage(process: "subprocess.Popen[str]") -> None:
    """Tells what DVC started, or DVC itself before it has; DVC would ignore a signal while its command runs."""
    with suppress(psutil.NoSuchProcess):
        dvc = psutil.Process(process.pid)
        for descendant in dvc.children(recursive=True) or [dvc]:
            with suppress(psutil.NoSuchProcess):
                descendant.terminate()


@contextmanager
def _first_signal_only() -> Iterator[None]:
    """Within it the first SIGTERM or SIGINT goes where it went before, the ones after it nowhere.

    A stop comes two or three times, from the group, a parent and a child; the second would break Prefect's report.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    came: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        handler = previous[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            raise SystemExit(128 + number)

    for number in SIGNALS:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        if not came:
            for number, handler in previous.items():
                signal.signal(number, handler)
