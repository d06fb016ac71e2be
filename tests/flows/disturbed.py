"""A training on a real server, what may happen to it, and what it makes when nothing does.

Imports no pytest.
"""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from minimagen.stages.train import run_train
from tests.flows.orchestra import Orchestra, orchestra, until, write_training_project
from tests.stages.tiny_project import outs_of, tiny_params, write_tiny_data

NUM_STEPS = 250
GONE_WITHIN_S = 15.0
"""Within so many seconds of a cancellation no process of the run is left."""
ALL_UP_TO_DATE = {"draw": "UpToDate", "train@base": "UpToDate", "judge": "UpToDate", "summary": "Completed"}


@dataclass(frozen=True, slots=True)
class Calm:
    """An undisturbed training: what it makes, and how many seconds its steps take."""

    outs: dict[str, str]
    seconds: float


def train_calmly(root: Path) -> Calm:
    """Trains in this process, in an empty folder."""
    write_tiny_data(root)
    started = time.monotonic()
    run_train(tiny_params(num_steps=NUM_STEPS), "base", root)
    return Calm(outs_of(root), time.monotonic() - started)


@contextmanager
def training_orchestra(root: Path) -> Iterator[Orchestra]:
    """Runs `make orchestrate`'s command in an empty folder, for a project that trains so long."""
    write_training_project(root, num_steps=NUM_STEPS)
    with orchestra(root) as running:
        yield running


def forget(root: Path) -> None:
    """Takes a project back to where nothing was done."""
    for name in ("runs/train", "runs/cache", "data/models", "data/checkpoints", ".dvc/cache"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("dvc.lock", "picture", "metrics.json"):
        (root / name).unlink(missing_ok=True)


def begin(playing: Orchestra) -> tuple[str, list[psutil.Process]]:
    """Starts a run from nothing and returns it with its processes as soon as it trains."""
    forget(playing.root)
    run = playing.trigger()
    until(playing.has_begun_to_train, "a training")
    return run, playing.family_of_runs()


def begin_and_wait(playing: Orchestra, calm: Calm, draws: random.Random) -> tuple[str, list[psutil.Process]]:
    """Starts a run from nothing and returns it with its processes at a random instant of its training or after it."""
    run, _ = begin(playing)
    time.sleep(draws.uniform(0.0, calm.seconds))
    return run, playing.family_of_runs()


def are_gone(family: list[psutil.Process]) -> bool:
    """Returns whether processes end in time."""
    return psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []


def ends_in_the_same_bytes(playing: Orchestra, calm: Calm) -> bool:
    """Lets a next run do what is left, if anything is."""
    return playing.wait_for(playing.trigger()) == "Completed" and outs_of(playing.root) == calm.outs


def is_told_to_end(process: psutil.Process) -> bool:
    """Returns whether a suspended process will find SIGTERM when it is resumed."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (pending,) = re.findall(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(pending, 16) >> (signal.SIGTERM - 1) & 1)


def kill(*processes: psutil.Process) -> None:
    """Kills those that still run."""
    for process in processes:
        if process.is_running():
            process.kill()


def kill_service(playing: Orchestra, name: str) -> None:
    """Kills server or worker with all of its group, and waits until another process is there in its place."""
    service = playing.service(name)
    os.killpg(service.pid, signal.SIGKILL)
    until(lambda: service.pid not in [each.pid for each in playing.process.children()], f"another {name}")


def await_server(playing: Orchestra) -> None:
    """Returns once the server answers."""
    until(lambda: _is_answering(playing), "a server that answers")


def _is_answering(playing: Orchestra) -> bool:
    try:
        playing.server.ask("/admin/version")
    except OSError:
        return False
    return True
