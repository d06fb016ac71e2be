"""Prefect's API dies for good while a run's stage works: the stage ends in the same bytes, the run soon after it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.local_server import LocalServer, open_server
from minimagen.stages.train import run_train
from tests.flows.orchestra import PREFECT, environment, free_port, is_python, until, write_training_project
from tests.stages.tiny_project import CHECKOUT, outs_of, tiny_params, write_tiny_data
from tests.torture import TORTURE, TellTable, num_times, whole_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    whole_only,
]
NUM_KILLS, NUM_STEPS = num_times(1, 5) if TORTURE < 2 else 2 * TORTURE, 200
GONE_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Bereft:
    """A run whose API was killed."""

    after_s: float
    stage_ended_s: float
    """From the kill to the end of the stage's process."""
    run_ended_s: float
    """From what DVC recorded last, of this stage or of one after it, to the end of the run's own process."""
    is_equal: bool


@contextmanager
def api(root: Path) -> Iterator[tuple[LocalServer, "subprocess.Popen[bytes]"]]:
    """A server of Prefect's without anything that would start it again."""
    server = open_server(root, free_port())
    with (root / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [str(PREFECT), "server", "start", "--host", "127.0.0.1", "--port", str(server.port)],
            env=os.environ | server.settings(root),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: answers(server), "the server")
        yield server, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(server: LocalServer) -> bool:
    with suppress(OSError):
        return bool(server.ask("/admin/version"))
    return False


def start_run(root: Path, server: LocalServer) -> "subprocess.Popen[bytes]":
    """Starts a run of train-cascade as a worker does."""
    flow = json.loads(server.ask("/flows/", {"name": "train-cascade"}))["id"]
    run = json.loads(server.ask("/flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}}))["id"]
    of_run = {
        "PREFECT__FLOW_RUN_ID": run,
        "PREFECT__FLOW_ENTRYPOINT": f"{CHECKOUT}/flows/train_cascade.py:train_cascade",
    }
    with (root / "run.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect.engine"],
            cwd=root,
            env=environment(root) | server.settings(root) | of_run,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """What an undisturbed training makes, and how many seconds its steps take."""
    root = tmp_path_factory.mktemp("calm")
    write_tiny_data(root)
    started = time.monotonic()
    run_train(tiny_params(num_steps=NUM_STEPS), "base", root)
    return outs_of(root), time.monotonic() - started


def bereave(root: Path, calm: tuple[dict[str, str], float], share: float) -> Bereft:
    """Kills the API so far into the training and waits for stage and run to end."""
    root.mkdir()
    write_training_project(root, num_steps=NUM_STEPS)
    with api(root) as (server, serving), start_run(root, server) as process:
        run = psutil.Process(process.pid)
        until(lambda: list(root.glob("runs/train/base-*/journal.jsonl")) or not run.is_running(), "a training")
        (stage,) = [each for each in run.children(recursive=True) if is_python(each, "tests.stages.trainer")]
        time.sleep(share * calm[1])
        os.killpg(serving.pid, signal.SIGKILL)
        killed = time.monotonic()
        psutil.wait_procs([stage], timeout=120)
        ended = time.monotonic()
        left = psutil.wait_procs([run], timeout=120)[1]
        gone_s = time.time() - (root / "dvc.lock").stat().st_mtime
        for each in left:
            each.kill()
    return Bereft(share * calm[1], ended - killed, gone_s, outs_of(root) == calm[0])


def test_a_dead_api_changes_no_byte_and_keeps_no_run(
    tmp_path: Path, calm: tuple[dict[str, str], float], tell_table: TellTable
) -> None:
    draws = random.Random(2026)
    ends = [bereave(tmp_path / str(number), calm, draws.random()) for number in range(NUM_KILLS)]
    names = ("killed after, s", "stage ended after, s", "run ended after, s", "same bytes")
    values = [(f"{e.after_s:.1f}", f"{e.stage_ended_s:.1f}", f"{e.run_ended_s:.1f}", e.is_equal) for e in ends]
    tell_table(f"Prefect's API killed {NUM_KILLS} times", [names, *values])
    assert all(end.is_equal for end in ends)
    assert max(end.run_ended_s for end in ends) <= GONE_WITHIN_S
