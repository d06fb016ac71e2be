"""Shard jobs as Prefect tasks: one a shard, run by a crew, with progress as an artifact.

What a job does is the library's: it is idempotent and atomic, so a run that was stopped goes on where it was. Knows no
source.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner

from flows.crew import Crew
from flows.limits import Limits, within
from flows.reproduce import ignore_signals, signals_raise
from flows.stoppable import let_threads_work, stop_threads, stoppable
from flows.told import is_worth_a_retry, tells_what_no_retry_mends
from minimagen.shards import ShardJob, ShardReport

SHOWN_EVERY_S = 2.0


class Work(Protocol):
    """The shards of a stage: which are there, which are missing, and what makes one."""

    @property
    def run(self) -> Callable[[ShardJob], ShardReport]:
        """Makes a shard; can be sent to other processes."""
        ...

    @property
    def done(self) -> Sequence[ShardReport]:
        """Of shards that were there before."""
        ...

    @property
    def missing(self) -> Sequence[ShardJob]:
        """In any order."""
        ...


@task(
    task_run_name="{job.name}",
    retries=3,
    retry_delay_seconds=[2, 15, 60],
    retry_jitter_factor=0.3,
    retry_condition_fn=is_worth_a_retry,
    cache_policy=NO_CACHE,
)
@tells_what_no_retry_mends
def make_shard(job: ShardJob, run: Callable[[ShardJob], ShardReport], limits: Limits) -> ShardReport:
    """Runs one job in its turn; tried again where disk or network failed."""
    with stoppable(), within(limits):
        return run(job)


def run_shards(
    title: str, work: Work, crew: Crew, limits: Limits, told: Callable[[ShardReport], str]
) -> list[ShardReport]:
    """Lets the crew run what is missing and returns the reports of all shards. With nothing to do none is started.

    Args:
        title: what the progress is called.
        told: puts a report into words, for the run's log.

    Raises:
        UserError: of a job; those that run are waited for, no other one is begun.
    """
    reports: list[ShardReport] = []
    progress = _Progress(title, len(work.done) + len(work.missing))

    def hear(report: ShardReport) -> None:
        reports.append(report)
        get_run_logger().info("%s/%s %s: %s", len(reports), progress.num_total, report.name, told(report))

    for report in work.done:
        hear(report)
    if work.missing:
        with _at_work(crew) as runner:
            futures: list[PrefectFuture[ShardReport]] = [
                runner.submit(make_shard, {"job": job, "run": work.run, "limits": limits}) for job in work.missing
            ]
            for future in as_completed(futures):
                hear(future.result())
                progress.show(len(reports))
    return reports


@contextmanager
def _at_work(crew: Crew) -> Iterator[TaskRunner]:
    """A runner of tasks; told to stop, its threads do so, and Dask's own processes end with it."""
    let_threads_work()
    with signals_raise(), crew.task_runner() as runner:
        try:
            yield runner
        except BaseException as stop:
            if not isinstance(stop, Exception):
                ignore_signals()
                stop_threads()
            raise


class _Progress:
    """A progress artifact that is brought up to date now and then."""

    def __init__(self, title: str, num_total: int) -> None:
        self.num_total, self._title = num_total, title
        self._artifact: UUID | None = None
        self._next_s = 0.0

    def show(self, number: int) -> None:
        """Shows how many shards are done, unless that was done a moment ago."""
        if time.monotonic() < self._next_s and number < self.num_total:
            return
        self._next_s = time.monotonic() + SHOWN_EVERY_S
        percent, description = 100.0 * number / self.num_total, f"{self._title}: {number} of {self.num_total} shards"
        try:
            if self._artifact is None:
                self._artifact = cast(UUID, create_progress_artifact(percent, description=description))
            else:
                update_progress_artifact(self._artifact, percent, description=description)
        except httpx.HTTPError as error:
            get_run_logger().debug("progress is not shown: %s", error)
