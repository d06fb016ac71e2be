"""A run in a process of its own that is stopped in the middle of its shards, and goes on by flow or by stage."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from tests.flows.slow_table import IN_FLIGHT, NUM_ROWS, SlowTables
from tests.flows.sources_project import ingest, raw
from tests.simulators.pictures import PictureHost
from tests.simulators.server import running_site
from tests.stages.tiny_project import CHECKOUT
from tests.torture import num_times

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]
GONE_WITHIN_S = 15.0
NUM_SEEDS = num_times(1, 3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowTables]:
    host = PictureHost()
    with running_site(host) as site:
        yield SlowTables(tmp_path_factory.mktemp("tables"), site.url, host)


@pytest.fixture(scope="module")
def calm(tables: SlowTables) -> dict[str, str]:
    """What an undisturbed stage makes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in tables.environment.items():
            monkeypatch.setenv(name, value)
        return ingest(tables.new(), "manifest")


def start(tables: SlowTables, root: Path, runner: str) -> psutil.Popen:
    """Starts the flow in a session of its own."""
    around = os.environ | tables.environment | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    around |= {"MINIMAGEN_TASK_RUNNER": runner, "PYTHONPATH": str(CHECKOUT)}
    with (root / "log").open("ab") as log:
        command = [sys.executable, "-m", "flows.download_manifest"]
        return psutil.Popen(command, cwd=root, env=around, stdout=log, stderr=log, start_new_session=True)


def wait_for_requests(tables: SlowTables, number: int, process: psutil.Popen) -> None:
    """Returns once the host was asked so many times."""
    while tables.num_requests < number and process.poll() is None:
        time.sleep(0.002)


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
@pytest.mark.parametrize(
    ("runner", "number", "goes_on_by"),
    [("threads", signal.SIGTERM, "flow"), ("dask", signal.SIGKILL, "stage")]
    + num_times(0, 1) * [("threads", signal.SIGKILL, "stage"), ("dask", signal.SIGTERM, "flow")],
)
def test_a_stopped_run_leaves_no_process_and_asks_only_for_the_rest(
    tables: SlowTables,
    calm: dict[str, str],
    runner: str,
    number: signal.Signals,
    goes_on_by: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, num_before = tables.new(), tables.num_requests
    process = start(tables, root, runner)
    wait_for_requests(tables, num_before + random.Random(seed).randint(NUM_ROWS // 4, NUM_ROWS // 2), process)
    family = [process, *process.children(recursive=True)]
    assert process.poll() is None, (root / "log").read_text()
    process.send_signal(number)
    assert psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []
    assert not (root / "data/raw/manifest/manifest.json").exists()

    if goes_on_by == "flow":
        assert start(tables, root, runner).wait() == 0, (root / "log").read_text()
    else:
        for name, value in tables.environment.items():
            monkeypatch.setenv(name, value)
        ingest(root, "manifest")
    assert raw(root, "manifest") == calm
    assert NUM_ROWS <= tables.num_requests - num_before <= NUM_ROWS + IN_FLIGHT


def test_a_second_process_is_refused_while_the_first_one_works(tables: SlowTables) -> None:
    root, num_before = tables.new(), tables.num_requests
    first = start(tables, root, "threads")
    wait_for_requests(tables, num_before + 1, first)
    command = [sys.executable, "-m", "minimagen.cli", "ingest", "manifest"]
    around = os.environ | tables.environment | {"PYTHONPATH": str(CHECKOUT)}
    second = subprocess.run(command, cwd=root, env=around, capture_output=True, text=True, check=False)
    assert second.returncode == 75
    assert f"manifest.lock: held by process {first.pid}" in second.stderr
    assert first.wait() == 0
    assert tables.num_requests - num_before == NUM_ROWS
