import os
from contextlib import ExitStack
from typing import Any

import pytest
from distributed import LocalCluster
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from flows.crew import Crew, crew_of
from minimagen.config import ConfigError
from minimagen.errors import UnavailableError, UserError


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIMAGEN_TASK_RUNNER", raising=False)
    monkeypatch.delenv("MINIMAGEN_PROCESSES", raising=False)


def test_threads_as_many_as_there_are_processors_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert crew_of(None, None) == Crew("threads", len(os.sched_getaffinity(0)))
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "3")
    assert crew_of(None, None) == Crew("threads", 3)
    assert crew_of(None, 5) == Crew("threads", 5)
    monkeypatch.setenv("MINIMAGEN_TASK_RUNNER", "dask")
    assert crew_of(None, None) == Crew("dask", 3)
    assert crew_of("threads", None) == Crew("threads", 3)


def test_the_runner_is_prefect_s() -> None:
    assert Crew("threads", 3).task_runner() == ThreadPoolTaskRunner(max_workers=3)
    assert isinstance(Crew("dask", 3).task_runner(), DaskTaskRunner)


def test_two_flows_at_once_have_a_dask_each_on_loopback() -> None:
    runners = [Crew("dask", 1).task_runner() for _ in range(2)]
    places: list[tuple[str, int]] = []

    with ExitStack() as held:
        for runner in runners:
            assert isinstance(runner, DaskTaskRunner)
            cluster: Any = held.enter_context(LocalCluster(**runner.cluster_kwargs))  # pyright: ignore[reportArgumentType]
            places += [one.getsockname() for one in cluster.scheduler.http_server._sockets.values()]

    assert {host for host, _ in places} == {"127.0.0.1"}
    assert len({port for _, port in places}) == 2


def test_a_scheduler_has_its_own_workers() -> None:
    local = {"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    cluster = LocalCluster(n_workers=1, threads_per_worker=3, **local)
    with cluster:
        address = cluster.scheduler_address
        crew = crew_of(address, None)
        with pytest.raises(UserError, match=rf"workers: the scheduler at {address} has its own"):
            crew_of(address, 2)
    assert crew == Crew(address, 3) and crew.is_elsewhere


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.crew._ANSWERS_WITHIN_S", 0.5)

    with pytest.raises(UnavailableError, match=r"runner: no Dask scheduler answers at tcp://127.0.0.1:9"):
        crew_of("tcp://127.0.0.1:9", None)


@pytest.mark.parametrize("runner", ["ray", "127.0.0.1:8786", "tcp://user@host:1", "tcp://host", " "])
def test_an_unknown_runner_is_named(runner: str) -> None:
    with pytest.raises(UserError, match=r"runner: .* is unknown, expected threads, dask, or the address"):
        crew_of(runner, None)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_wrong_number_of_workers_is_named(workers: int) -> None:
    with pytest.raises(UserError, match=f"workers: {workers} is not a number from 1"):
        crew_of(None, workers)


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "many")

    with pytest.raises(ConfigError, match="MINIMAGEN_PROCESSES is 'many'"):
        crew_of("dask", None)
