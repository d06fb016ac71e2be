"""An ingest that is killed, as often as one likes, ends with the bytes of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from minimagen.shards import ShardJob
from tests.simulators.pictures import PictureHost
from tests.simulators.server import running_site
from tests.sources.remote_case import Case, candidate
from tests.torture import num_times

NUM_ROWS = 2000
IN_FLIGHT = 8
NUM_KILLS = num_times(4, 20)
KINDS = ["ok"] * 14 + ["status/404", "html", "noai", "cut", "flat", "same/7"]


class Ingests:
    """Ingests of the same candidates from one host, each in a root of its own."""

    def __init__(self, checkout: Path, root: Path, host: PictureHost, url: str, address: str) -> None:
        self._checkout, self._root, self._host, self._url = checkout, root, host, url
        self._environment = os.environ | {"MINIMAGEN_ALLOWED_ADDRESSES": address}
        self._num_cases = 0

    def new(self) -> tuple[Case, list[ShardJob]]:
        """Plans one."""
        self._num_cases += 1
        case, names = Case(self._root / str(self._num_cases)), random.Random(7)
        urls = [f"{self._url}/img/{names.choice(KINDS)}/{number}.png" for number in range(NUM_ROWS)]
        candidates = [candidate(str(number), url) for number, url in enumerate(urls)]
        jobs = case.plan(candidates, shard_rows=500, in_flight=IN_FLIGHT)
        (case.root / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
        return case, jobs

    def start(self, case: Case) -> subprocess.Popen[bytes]:
        """Starts it in a session of its own, with two workers."""
        jobs = str(case.root / "jobs.json")
        command = [sys.executable, "-m", "tests.sources.killable_ingest", str(case.root), jobs, "2"]
        return subprocess.Popen(
            command, cwd=self._checkout, env=self._environment, stdout=subprocess.PIPE, start_new_session=True
        )

    def run(self, case: Case, kill_after_s: float | None = None) -> bool:
        """Runs it until its end, or kills all of its processes so long after its first request; True at its end."""
        num_before, process = self._host.num_requests.total(), self.start(case)
        while process.poll() is None and self._host.num_requests.total() == num_before:
            time.sleep(0.002)
        try:
            process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode == 0


@pytest.fixture(scope="module")
def host() -> PictureHost:
    return PictureHost()


@pytest.fixture(scope="module")
def ingests(host: PictureHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingests]:
    with running_site(host) as site:
        address = "{}:{}".format(*site.address)
        yield Ingests(Path(__file__).parents[2], tmp_path_factory.mktemp("ingests"), host, site.url, address)


@pytest.mark.long
@pytest.mark.timeout(300 + 20 * NUM_KILLS)
def test_kills_cost_only_the_rows_in_flight_and_change_no_byte(ingests: Ingests, host: PictureHost) -> None:
    instants = random.Random(2026)
    undisturbed, _ = ingests.new()
    started = time.monotonic()
    assert ingests.run(undisturbed)
    work_s, num_needed = time.monotonic() - started, host.num_requests.total()
    expected = undisturbed.files()

    num_kills = 0
    while num_kills < NUM_KILLS:
        (case, _), num_kills_here, num_before = ingests.new(), 0, host.num_requests.total()
        while not ingests.run(case, instants.uniform(0.0, work_s / 2) if num_kills < NUM_KILLS else None):
            num_kills, num_kills_here = num_kills + 1, num_kills_here + 1

        num_asked_again = host.num_requests.total() - num_before - num_needed
        assert 0 <= num_asked_again <= num_kills_here * IN_FLIGHT
        assert case.files() == expected
        assert not case.spools()
