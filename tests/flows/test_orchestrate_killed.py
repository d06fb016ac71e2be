"""Real runs; trainer, worker and server are killed at random instants: the bytes are those of a calm training."""

import random
import time
from collections.abc import Iterator

import pytest

from tests.flows.disturbed import (
    ALL_UP_TO_DATE,
    Calm,
    are_gone,
    await_server,
    begin_and_wait,
    kill,
    kill_service,
    train_calmly,
    training_orchestra,
)
from tests.flows.orchestra import FINAL, Orchestra
from tests.stages.tiny_project import outs_of
from tests.torture import num_times, whole_only

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NUM_INSTANTS = num_times(1, 5)


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestra]:
    with training_orchestra(tmp_path_factory.mktemp("orchestrated")) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return train_calmly(tmp_path_factory.mktemp("calm"))


@pytest.mark.parametrize("seed", range(NUM_INSTANTS))
def test_a_run_outlives_its_server_or_ends_and_the_next_one_goes_on(playing: Orchestra, calm: Calm, seed: int) -> None:
    run, family = begin_and_wait(playing, calm, random.Random(seed))
    kill_service(playing, "server")
    await_server(playing)
    end = playing.wait_for(run)
    if end != "Completed":
        assert end in FINAL and are_gone(family)
        end = playing.wait_for(playing.trigger())
    assert end == "Completed"
    assert outs_of(playing.root) == calm.outs


@whole_only
@pytest.mark.parametrize("seed", range(NUM_INSTANTS))
def test_a_run_outlives_its_trainer_and_its_worker(playing: Orchestra, calm: Calm, seed: int) -> None:
    draws = random.Random(seed)
    run, _ = begin_and_wait(playing, calm, draws)
    kill(*playing.trainers())
    time.sleep(draws.uniform(0.0, calm.seconds))
    kill_service(playing, "worker")
    assert playing.wait_for(run) == "Completed"
    assert outs_of(playing.root) == calm.outs


@whole_only
def test_after_all_that_nothing_is_left_to_do(playing: Orchestra) -> None:
    run = playing.trigger()
    assert playing.wait_for(run) == "Completed"
    assert playing.tasks(run) == ALL_UP_TO_DATE
