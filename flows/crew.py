"""Who makes the shards of a data flow: threads of the flow's process, Dask's workers here, or those of a scheduler.

Knows no shard. Whoever makes them, shards are the same; see ``minimagen.stages``.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from distributed import Client
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from minimagen.errors import UnavailableError, UserError
from minimagen.stages.pool import num_processes_from_environment

RUNNER = "MINIMAGEN_TASK_RUNNER"
"""The variable that says who, where a run's parameters do not."""
THREADS, DASK = "threads", "dask"
_ADDRESS = re.compile(r"[a-z]+://[^\s/?#@]+:\d+")
_ANSWERS_WITHIN_S = 15
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Crew:
    """A number of workers, each of which makes one shard at a time."""

    runner: str
    """``threads``, ``dask``, or the address of a Dask scheduler."""
    num_workers: int
    num_machines: int = 1
    """That they are on."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether its workers may be on other machines."""
        return self.runner not in (THREADS, DASK)

    def task_runner(self) -> TaskRunner:
        """Returns what runs tasks, once it is entered."""
        if self.runner == THREADS:
            return ThreadPoolTaskRunner(max_workers=self.num_workers)
        if self.is_elsewhere:
            return DaskTaskRunner(address=self.runner)
        # Processes, not threads: a shard keeps Python busy. No page of Dask's, no limit of memory below the machine's.
        workers = {"n_workers": self.num_workers, "threads_per_worker": 1, "memory_limit": 0}
        # A free port of loopback: of two flows at once the second one found Dask's usual port taken.
        place = {"host": _HOST, "dashboard_address": f"{_HOST}:0", "scheduler_kwargs": {"dashboard": False}}
        return DaskTaskRunner(cluster_kwargs=workers | place)


def crew_of(runner: str | None, workers: int | None) -> Crew:
    """Returns the crew that parameters or environment ask for.

    Args:
        runner: ``threads``, ``dask``, or the address of a Dask scheduler; None is MINIMAGEN_TASK_RUNNER, or threads.
        workers: how many, 1..; None is MINIMAGEN_PROCESSES, or one for each CPU. A scheduler has its own.

    Raises:
        UserError: there is no such runner, or not so many workers.
        UnavailableError: no scheduler answers.
    """
    chosen = runner or os.environ.get(RUNNER) or THREADS
    if workers is not None and workers < 1:
        raise UserError(f"workers: {workers} is not a number from 1")
    if chosen in (THREADS, DASK):
        return Crew(chosen, workers or num_processes_from_environment())
    if not _ADDRESS.fullmatch(chosen):
        raise UserError(
            f"runner: {chosen!r} is unknown, expected {THREADS}, {DASK}, or the address of a Dask scheduler like "
            "tcp://host:8786"
        )
    if workers is not None:
        raise UserError(f"workers: the scheduler at {chosen} has its own; leave it out")
    return _crew_at(chosen)


def _crew_at(address: str) -> Crew:
    try:
        with Client(address, timeout=_ANSWERS_WITHIN_S, set_as_default=False) as client:
            num_threads = cast(Mapping[str, int], client.nthreads())
    except OSError as error:
        raise UnavailableError(f"runner: no Dask scheduler answers at {address}") from error
    if not num_threads:
        raise UserError(f"runner: the Dask scheduler at {address} has no workers")
    return Crew(address, sum(num_threads.values()), len({worker.rpartition(":")[0] for worker in num_threads}))
