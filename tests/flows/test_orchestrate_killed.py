"""Real runs on a real server, disturbed at random instants: every one of them ends in the bytes of a calm one."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from minimagen.stages.train import run_train
from tests.flows.orchestra import FINAL, PREFECT, Orchestra, environment, orchestra, until, write_training_project
from tests.stages.tiny_project import outs_of, tiny_params, write_tiny_data
from tests.torture import TORTURE, num_times, whole_only

pytestmark = pytest.mark.timeout(600)
NUM_STEPS = 400
NUM_INSTANTS = num_times(1, 5)
VICTIMS = ("server", "trainer", "worker") if TORTURE else ("server",)
GONE_WITHIN_S = 15.0
"""Within so many seconds of a cancellation no process of the run is left."""
SILENCE = timedelta(seconds=35)
ALL_UP_TO_DATE = {"draw": "UpToDate", "train@base": "UpToDate", "judge": "UpToDate", "summary": "Completed"}


@dataclass(frozen=True, slots=True)
class Calm:
    """An undisturbed training: what it makes, and how many seconds its steps take."""

    outs: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    root = tmp_path_factory.mktemp("orchestrated")
    write_training_project(root, num_steps=NUM_STEPS)
    with orchestra(root) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    root = tmp_path_factory.mktemp("calm")
    write_tiny_data(root)
    started = time.monotonic()
    run_train(tiny_params(num_steps=NUM_STEPS), "base", root)
    return Calm(outs_of(root), time.monotonic() - started)


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


def begin_and_wait(playing: Orchestra, calm: Calm, seed: int) -> tuple[str, list[psutil.Process]]:
    """Starts a run from nothing and returns it with its processes at a random instant of its training or after it."""
    run, _ = begin(playing)
    time.sleep(random.Random(seed).uniform(0.0, calm.seconds))
    return run, playing.family_of_runs()


def are_gone(family: list[psutil.Process]) -> bool:
    return psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []


def end_in_the_same_bytes(playing: Orchestra, calm: Calm) -> None:
    """Lets a next run do what is left, if anything is."""
    assert playing.wait_for(playing.trigger()) == "Completed"
    assert outs_of(playing.root) == calm.outs


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        if process.is_running():
            process.kill()


def kill_service(playing: Orchestra, name: str) -> None:
    """Kills server or worker with all of its group, and waits until another one works in its place."""
    service = playing.service(name)
    os.killpg(service.pid, signal.SIGKILL)
    until(lambda: service.pid not in [each.pid for each in playing.process.children()], f"another {name}")
    until(lambda: is_answering(playing), "a server that answers")


def is_answering(playing: Orchestra) -> bool:
    try:
        playing.server.ask("/admin/version")
    except OSError:
        return False
    return True


@pytest.mark.parametrize("seed", range(NUM_INSTANTS))
@pytest.mark.parametrize("victim", VICTIMS)
def test_whoever_is_killed_at_any_instant_the_bytes_are_the_same(
    playing: Orchestra, calm: Calm, victim: str, seed: int
) -> None:
    run, family = begin_and_wait(playing, calm, seed)
    if victim == "trainer":
        kill(*playing.trainers())
    else:
        kill_service(playing, victim)
    end = playing.wait_for(run)
    if victim == "server" and end != "Completed":  # a run may end with its server, and then with all of its processes
        assert end in FINAL and are_gone(family)
        end = playing.wait_for(playing.trigger())
    assert end == "Completed"
    assert outs_of(playing.root) == calm.outs


@whole_only
def test_after_all_that_nothing_is_left_to_do(playing: Orchestra) -> None:
    run = playing.trigger()
    assert playing.wait_for(run) == "Completed"
    assert playing.tasks(run) == ALL_UP_TO_DATE


@whole_only
def test_a_training_that_is_cancelled_again_and_again_ends_in_the_same_bytes(playing: Orchestra, calm: Calm) -> None:
    draws = random.Random(0)
    forget(playing.root)
    for number in range(NUM_INSTANTS):
        run = playing.trigger()
        until(lambda run=run: playing.trainers() or playing.state(run) in FINAL, "a trainer")
        time.sleep(draws.uniform(0.0, calm.seconds / 2))
        family = playing.family_of_runs()
        playing.cancel(run)
        assert are_gone(family)
        if playing.wait_for(run) == "Completed":
            forget(playing.root)
        elif number == 0:
            assert not (playing.root / "data/models").exists()
    dvc = [str(PREFECT.with_name("dvc")), "repro", "--quiet"]
    subprocess.run(dvc, cwd=playing.root, env=environment(playing.root), check=True)
    assert outs_of(playing.root) == calm.outs


@whole_only
def test_a_run_that_outlived_its_worker_can_be_cancelled(playing: Orchestra, calm: Calm) -> None:
    run, family = begin(playing)
    playing.trainers()[0].suspend()  # so that it cannot end before it is told to
    kill_service(playing, "worker")
    playing.cancel(run)
    playing.trainers()[0].resume()
    assert are_gone(family)
    assert playing.wait_for(run) in ("Cancelled", "Crashed")
    end_in_the_same_bytes(playing, calm)


@whole_only
def test_a_server_that_is_started_again_knows_who_holds_the_slot(playing: Orchestra, calm: Calm) -> None:
    run, _ = begin(playing)
    kill_service(playing, "server")
    assert playing.holds_its_slot(run)
    assert playing.wait_for(playing.trigger()) == "Cancelled"
    playing.wait_for(run)
    end_in_the_same_bytes(playing, calm)


@whole_only
@pytest.mark.parametrize(("is_cancelled", "end"), [(False, "Crashed"), (True, "Cancelled")])
def test_a_run_whose_process_died_unseen_frees_its_place(
    playing: Orchestra, calm: Calm, is_cancelled: bool, end: str
) -> None:
    playing.watch_closely(SILENCE)
    run, family = begin(playing)
    kill(playing.service("worker"), *family)
    if is_cancelled:
        playing.cancel(run)
    assert playing.state(run) == ("Cancelling" if is_cancelled else "Running")
    assert playing.wait_for(playing.trigger()) == "Cancelled"  # its place is still taken
    assert playing.wait_for(run) == end
    end_in_the_same_bytes(playing, calm)


@whole_only
def test_fifty_triggers_make_one_training(playing: Orchestra, calm: Calm) -> None:
    first, _ = begin(playing)
    playing.trainers()[0].suspend()  # it is at work for as long as the others ask
    others = [playing.trigger() for _ in range(49)]
    assert {playing.wait_for(run) for run in others} == {"Cancelled"}
    assert len(playing.trainers()) == 1
    playing.trainers()[0].resume()
    assert playing.wait_for(first) == "Completed"
    assert outs_of(playing.root) == calm.outs


@whole_only
def test_a_server_that_dies_while_it_starts_is_started_again(playing: Orchestra) -> None:
    for _ in range(2):
        server = playing.service("server")
        os.killpg(server.pid, signal.SIGKILL)
        until(lambda died=server: died.pid not in [each.pid for each in playing.process.children()], "another server")
    until(lambda: is_answering(playing), "a server that answers")
    assert playing.process.is_running()
