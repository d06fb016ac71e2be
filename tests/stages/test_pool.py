import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from minimagen.config import ConfigError
from minimagen.shards import ShardJob, ShardReport
from minimagen.stages.pool import map_jobs, num_processes_from_environment

JOBS = [ShardJob("folder", f"s1-{number:05d}", "{}") for number in range(5)]


def report_process(job: ShardJob) -> ShardReport:
    return ShardReport(job.name, os.getpid(), {}, 0, was_done=False)


def refuse(job: ShardJob) -> ShardReport:
    raise ValueError(f"{job.name} is refused")


def die(job: ShardJob) -> ShardReport:
    os._exit(9)


def test_one_process_runs_the_jobs_here_in_order() -> None:
    reports = list(map_jobs(report_process, JOBS, 1))

    assert [report.name for report in reports] == [job.name for job in JOBS]
    assert {report.stored for report in reports} == {os.getpid()}


def test_several_processes_run_every_job_once() -> None:
    reports = list(map_jobs(report_process, JOBS, 2))

    assert sorted(report.name for report in reports) == [job.name for job in JOBS]
    assert os.getpid() not in {report.stored for report in reports}


def test_no_job_starts_no_process() -> None:
    assert list(map_jobs(die, [], 4)) == []


def test_the_error_of_a_job_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match=r"s1-0000\d is refused"):
        list(map_jobs(refuse, JOBS, 2))


def test_a_killed_worker_is_told_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"worker process was killed.*MINIMAGEN_PROCESSES below 2"):
        list(map_jobs(die, JOBS, 2))


def test_the_number_of_processes_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIMAGEN_PROCESSES", raising=False)
    assert num_processes_from_environment() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "3")
    assert num_processes_from_environment() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_processes_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", value)

    with pytest.raises(ConfigError, match=f"MINIMAGEN_PROCESSES is '{value}'"):
        num_processes_from_environment()


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed outright, so nothing of Python's own cleaning up can help."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal\n"
        "from minimagen.shards import ShardJob\n"
        "from minimagen.stages.pool import map_jobs\n"
        "def work_forever(job):\n"
        "    os.write(1, f'{os.getpid()}\\n'.encode())\n"
        "    signal.pause()\n"
        "if __name__ == '__main__':\n"
        "    list(map_jobs(work_forever, [ShardJob('s', str(n), '{}') for n in range(2)], 2))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        parent.kill()

    _, alive = psutil.wait_procs(workers, timeout=30)

    assert alive == []
