"""Real runs on a real server, disturbed at random instants: every one of them ends in the bytes of a calm one."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from minimagen.stages.train import run_train
from tests.flows.orchestra import FINAL, PREFECT, Orchestra, environment, orchestra, until, write_training_project
from tests.stages.tiny_project import outs_of, tiny_params, write_tiny_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
NUM_STEPS = 400
NUM_ROUNDS = 5
GONE_WITHIN_S = 15.0
ALL_UP_TO_DATE = {"draw": "UpToDate", "train@base": "UpToDate", "judge": "UpToDate", "summary": "Completed"}


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    root = tmp_path_factory.mktemp("orchestrated")
    write_training_project(root, num_steps=NUM_STEPS)
    with orchestra(root) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """What an undisturbed training makes, and how many seconds its steps take."""
    root = tmp_path_factory.mktemp("calm")
    write_tiny_data(root)
    started = time.monotonic()
    run_train(tiny_params(num_steps=NUM_STEPS), "base", root)
    return outs_of(root), time.monotonic() - started


def forget(root: Path) -> None:
    """Takes a project back to where nothing was done."""
    for name in ("runs/train", "runs/cache", "data/models", "data/checkpoints", ".dvc/cache"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("dvc.lock", "picture", "metrics.json"):
        (root / name).unlink(missing_ok=True)


def begin(playing: Orchestra, calm_s: float, seed: int) -> tuple[str, list[psutil.Process]]:
    """Starts a run from nothing, waits for a random instant of its training, and returns it with its processes."""
    forget(playing.root)
    run = playing.trigger()
    until(playing.has_begun_to_train, "a training")
    time.sleep(random.Random(seed).uniform(0.0, calm_s))
    return run, playing.family_of_runs()


def trainer_of(family: list[psutil.Process]) -> psutil.Process | None:
    """Returns the process that trains, if it has not ended."""
    return next((each for each in family if each.is_running() and "tests.stages.trainer" in each.cmdline()[:4]), None)


def kill(process: psutil.Process) -> None:
    if process.is_running():
        process.kill()


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_cancelled_at_any_instant_the_next_run_ends_in_the_same_bytes(
    playing: Orchestra, calm: tuple[dict[str, bytes], float], seed: int
) -> None:
    run, family = begin(playing, calm[1], seed)
    playing.cancel(run)
    assert psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []
    assert playing.wait_for(run) in ("Cancelled", "Completed")
    assert playing.wait_for(playing.trigger()) == "Completed"
    assert outs_of(playing.root) == calm[0]


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_cancelled_at_any_instant_a_plain_dvc_repro_goes_on(
    playing: Orchestra, calm: tuple[dict[str, bytes], float], seed: int
) -> None:
    run, _ = begin(playing, calm[1], seed)
    playing.cancel(run)
    playing.wait_for(run)
    dvc = [str(PREFECT.with_name("dvc")), "repro", "--quiet"]
    subprocess.run(dvc, cwd=playing.root, env=environment(playing.root), check=True)
    assert outs_of(playing.root) == calm[0]
    last = playing.trigger()
    assert playing.wait_for(last) == "Completed"
    assert playing.tasks(last) == ALL_UP_TO_DATE


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_a_killed_trainer_is_started_again_by_its_own_run(
    playing: Orchestra, calm: tuple[dict[str, bytes], float], seed: int
) -> None:
    run, family = begin(playing, calm[1], seed)
    trainer = trainer_of(family)
    if trainer is not None:
        kill(trainer)
    assert playing.wait_for(run) == "Completed"
    assert outs_of(playing.root) == calm[0]


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_a_run_outlives_its_worker(playing: Orchestra, calm: tuple[dict[str, bytes], float], seed: int) -> None:
    run, _ = begin(playing, calm[1], seed)
    kill_service(playing, "worker")
    assert playing.wait_for(run) == "Completed"
    assert outs_of(playing.root) == calm[0]
    last = playing.trigger()
    assert playing.wait_for(last) == "Completed"
    assert playing.tasks(last) == ALL_UP_TO_DATE


@pytest.mark.parametrize("seed", range(NUM_ROUNDS))
def test_a_killed_server_comes_back_and_the_work_is_done_once(
    playing: Orchestra, calm: tuple[dict[str, bytes], float], seed: int
) -> None:
    run, family = begin(playing, calm[1], seed)
    kill_service(playing, "server")
    assert playing.wait_for(run) in FINAL
    assert psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []
    assert playing.wait_for(playing.trigger()) == "Completed"
    assert outs_of(playing.root) == calm[0]


def kill_service(playing: Orchestra, name: str) -> None:
    """Kills server or worker, and waits until another one works in its place."""
    (service,) = [each for each in playing.process.children() if f"{name} start" in " ".join(each.cmdline())]
    os.killpg(service.pid, signal.SIGKILL)
    until(lambda: service.pid not in [each.pid for each in playing.process.children()], f"another {name}")
    until(is_answering(playing), "a server that answers")


def is_answering(playing: Orchestra) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            playing.server.ask("/admin/version")
        except OSError:
            return False
        return True

    return ask


def test_a_run_whose_process_died_unseen_frees_its_place(
    playing: Orchestra, calm: tuple[dict[str, bytes], float]
) -> None:
    run, family = begin(playing, 0.0, 0)
    (worker,) = [each for each in playing.process.children() if "worker start" in " ".join(each.cmdline())]
    for process in (worker, *family):
        kill(process)
    assert playing.state(run) == "Running"
    assert playing.wait_for(playing.trigger()) == "Cancelled"  # its place is still taken
    assert playing.wait_for(run) == "Crashed"
    assert playing.wait_for(playing.trigger()) == "Completed"
    assert outs_of(playing.root) == calm[0]


def test_fifty_triggers_make_one_training(playing: Orchestra, calm: tuple[dict[str, bytes], float]) -> None:
    first, _ = begin(playing, 0.0, 0)
    others = [playing.trigger() for _ in range(49)]
    assert {playing.wait_for(run) for run in others} == {"Cancelled"}
    assert len(playing.trainers()) == 1
    assert playing.wait_for(first) == "Completed"
    assert outs_of(playing.root) == calm[0]


def test_with_nothing_to_do_a_run_takes_less_than_twenty_seconds(playing: Orchestra) -> None:
    playing.wait_for(playing.trigger())
    started = time.monotonic()
    run = playing.trigger()
    assert playing.wait_for(run) == "Completed"
    assert time.monotonic() - started < 20
    assert playing.tasks(run) == ALL_UP_TO_DATE
