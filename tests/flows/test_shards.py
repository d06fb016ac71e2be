"""The map of shard jobs, with jobs that only act."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect import flow

from flows.crew import Crew
from flows.limits import Limits
from flows.shards import make_shard, run_shards
from minimagen.errors import UserError
from minimagen.shards import ShardJob, ShardReport

pytestmark = pytest.mark.usefixtures("prefect_server")
NO_LIMITS = Limits(None, None)
THREADS = Crew("threads", 2)


@dataclass(frozen=True)
class Shards:
    """Work as a stage has it."""

    run: Callable[[ShardJob], ShardReport]
    missing: Sequence[ShardJob]
    done: Sequence[ShardReport] = ()


def jobs(number: int) -> list[ShardJob]:
    return [ShardJob("folder", f"s1-{index:05d}", "{}") for index in range(number)]


def report(job: ShardJob) -> ShardReport:
    return ShardReport(job.name, 1, {}, 0, was_done=False)


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tasks be tried again at once."""
    monkeypatch.setattr(make_shard, "retry_delay_seconds", [0.0])


@pytest.mark.usefixtures("no_delay")
def test_a_failing_disk_is_tried_again_and_a_wrong_file_is_not() -> None:
    tries: list[str] = []

    def run(job: ShardJob) -> ShardReport:
        tries.append(job.name)
        if job.name == "s1-00000" and tries.count(job.name) < 3:
            raise OSError("no space left")
        if job.name == "s1-00001":
            raise UserError("the candidate file is gone")
        return report(job)

    @flow
    def one(job: ShardJob) -> list[ShardReport]:
        return run_shards("folder", Shards(run, [job]), THREADS, NO_LIMITS, str)

    assert one(jobs(2)[0]) == [report(jobs(1)[0])]
    with pytest.raises(UserError, match="the candidate file is gone"):
        one(jobs(2)[1])
    assert tries == ["s1-00000"] * 3 + ["s1-00001"]


def test_no_more_run_at_once_than_there_are_workers() -> None:
    lock, running, most = threading.Lock(), [0], [0]
    together = threading.Barrier(2, timeout=30)

    def run(job: ShardJob) -> ShardReport:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait()
        with lock:
            running[0] -= 1
        return report(job)

    @flow
    def several() -> list[ShardReport]:
        return run_shards("folder", Shards(run, jobs(6)), THREADS, NO_LIMITS, str)

    assert sorted(each.name for each in several()) == [job.name for job in jobs(6)]
    assert most == [2]


def test_nothing_to_do_starts_no_worker() -> None:
    @flow
    def nothing() -> list[ShardReport]:
        shards = Shards(report, [], [report(job) for job in jobs(2)])
        return run_shards("folder", shards, Crew("tcp://127.0.0.1:9", 2), NO_LIMITS, str)

    assert [each.name for each in nothing()] == [job.name for job in jobs(2)]


def test_a_failing_shard_lets_no_other_begin(tmp_path: Path) -> None:
    def run(job: ShardJob) -> ShardReport:
        (tmp_path / job.name).touch()
        raise UserError(f"{job.name} is refused")

    @flow
    def several() -> list[ShardReport]:
        return run_shards("folder", Shards(run, jobs(50)), Crew("threads", 1), NO_LIMITS, str)

    with pytest.raises(UserError, match="is refused"):
        several()
    assert len(list(tmp_path.iterdir())) < 50
