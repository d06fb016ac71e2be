"""Real runs: cancelled at random instants, left alone by those who should end them, triggered all at once."""

import random
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.flows.disturbed import (
    Calm,
    are_gone,
    await_server,
    begin,
    ends_in_the_same_bytes,
    forget,
    is_told_to_end,
    kill,
    kill_service,
    train_calmly,
    training_orchestra,
)
from tests.flows.orchestra import FINAL, PREFECT, Orchestra, environment, until
from tests.stages.tiny_project import outs_of
from tests.torture import num_times, whole_only

pytestmark = [whole_only, pytest.mark.timeout(600)]
NUM_INSTANTS = num_times(1, 5)
SILENCE = timedelta(seconds=35)


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    with training_orchestra(tmp_path_factory.mktemp("orchestrated")) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return train_calmly(tmp_path_factory.mktemp("calm"))


def test_a_training_that_is_cancelled_again_and_again_ends_in_the_same_bytes(playing: Orchestra, calm: Calm) -> None:
    draws = random.Random(0)
    forget(playing.root)
    for _ in range(NUM_INSTANTS):
        run = playing.trigger()
        until(lambda run=run: playing.trainers() or playing.state(run) in FINAL, "a trainer")
        time.sleep(draws.uniform(0.0, calm.seconds / 2))
        family = playing.family_of_runs()
        playing.cancel(run)
        assert are_gone(family)
        if playing.wait_for(run) == "Completed":
            forget(playing.root)
    dvc = [str(PREFECT.with_name("dvc")), "repro", "--quiet"]
    subprocess.run(dvc, cwd=playing.root, env=environment(playing.root), check=True)
    assert outs_of(playing.root) == calm.outs


def test_a_run_that_outlived_its_worker_can_be_cancelled(playing: Orchestra, calm: Calm) -> None:
    run, family = begin(playing)
    (trainer,) = playing.trainers()
    trainer.suspend()  # so that it cannot end before it is told to
    kill_service(playing, "worker")
    playing.cancel(run)
    until(lambda: is_told_to_end(trainer), "a signal to the trainer")
    trainer.resume()
    assert are_gone(family)
    assert playing.wait_for(run) == "Crashed"
    assert ends_in_the_same_bytes(playing, calm)


def test_a_server_that_is_started_again_knows_who_holds_the_slot(playing: Orchestra, calm: Calm) -> None:
    run, _ = begin(playing)
    kill_service(playing, "server")
    await_server(playing)
    assert playing.holds_its_slot(run)
    playing.wait_for(run)
    assert ends_in_the_same_bytes(playing, calm)


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
    assert ends_in_the_same_bytes(playing, calm)


def test_fifty_triggers_make_one_training(playing: Orchestra, calm: Calm) -> None:
    first, _ = begin(playing)
    (trainer,) = playing.trainers()
    trainer.suspend()  # it is at work for as long as the others ask
    others = [playing.trigger() for _ in range(49)]
    assert {playing.wait_for(run) for run in others} == {"Cancelled"}
    assert playing.trainers() == [trainer]
    trainer.resume()
    assert playing.wait_for(first) == "Completed"
    assert outs_of(playing.root) == calm.outs


def test_a_server_that_dies_while_it_starts_is_started_again(playing: Orchestra) -> None:
    for _ in range(2):
        kill_service(playing, "server")
    await_server(playing)
    assert playing.process.is_running()
