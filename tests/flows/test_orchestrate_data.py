"""A data flow on a real server with a real worker: triggered, cancelled, and gone on with. Takes minutes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.flows.orchestra import PREFECT, Orchestra, environment, orchestra, until
from tests.flows.slow_table import IN_FLIGHT, NUM_ROWS, SlowTables
from tests.flows.sources_project import ingest, raw
from tests.simulators.pictures import PictureHost
from tests.simulators.server import running_site
from tests.stages.tiny_project import CHECKOUT
from tests.torture import TORTURE

pytestmark = [pytest.mark.skipif(TORTURE == 0, reason="run by make torture-ci"), pytest.mark.timeout(900)]
CANARY = "canary-that-nobody-may-see"
GONE_WITHIN_S = 15.0
FLOW = "download-manifest"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowTables]:
    host = PictureHost()
    with running_site(host) as site, pytest.MonkeyPatch.context() as monkeypatch:
        tables = SlowTables(tmp_path_factory.mktemp("tables"), site.url, host)
        for name, value in (tables.environment | {"TMDB_TOKEN": CANARY}).items():
            monkeypatch.setenv(name, value)
        yield tables


@pytest.fixture(scope="module")
def playing(tables: SlowTables) -> Iterator[Orchestra]:
    root = tables.new()
    for name in ("prefect.yaml", "pyproject.toml", "flows"):
        (root / name).symlink_to(CHECKOUT / name)
    with orchestra(root) as running:
        yield running


@pytest.fixture(scope="module")
def calm(tables: SlowTables) -> dict[str, str]:
    """What an undisturbed stage makes."""
    return ingest(tables.new(), "manifest")


def forget(root: Path) -> None:
    """Takes the project back to where nothing was done."""
    subprocess.run(["rm", "-rf", str(root / "data/raw"), str(root / "runs/ingest")], check=True)


@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_cancelled_it_leaves_no_process_and_the_next_run_asks_for_the_rest(
    playing: Orchestra, tables: SlowTables, calm: dict[str, str], runner: str
) -> None:
    forget(playing.root)
    num_before = tables.num_requests
    run = playing.trigger(FLOW, runner=runner)
    until(lambda: tables.num_requests > num_before + NUM_ROWS // 4, "a download")
    family = playing.family_of_runs()

    playing.cancel(run)

    assert psutil.wait_procs(family, timeout=GONE_WITHIN_S)[1] == []
    assert playing.wait_for(run) == "Cancelled"
    assert not (playing.root / "data/raw/manifest/manifest.json").exists()
    assert playing.wait_for(playing.trigger(FLOW, runner=runner)) == "Completed"
    assert raw(playing.root, "manifest") == calm
    assert NUM_ROWS <= tables.num_requests - num_before <= NUM_ROWS + IN_FLIGHT


def test_by_its_bare_name_it_runs_and_shows_what_became_of_every_row(
    playing: Orchestra, tables: SlowTables, calm: dict[str, str]
) -> None:
    forget(playing.root)
    command = [PREFECT, "deployment", "run", FLOW, "--watch", "--param", "workers=3"]
    around = environment(playing.root)
    watched = subprocess.run(command, cwd=playing.root, env=around, capture_output=True, text=True, check=False)
    assert watched.returncode == 0, watched.stderr + watched.stdout
    assert raw(playing.root, "manifest") == calm
    num_requests = tables.num_requests

    run = playing.trigger(FLOW)
    assert playing.wait_for(run) == "Completed"
    assert playing.tasks(run) == {"plan": "Completed"}
    assert tables.num_requests == num_requests
    assert [each["key"] for each in playing.artifacts(run)] == ["outcomes-manifest"]


def test_a_refused_run_says_why_in_a_line_and_no_key_is_on_the_disk(playing: Orchestra) -> None:
    run = playing.trigger("scrape-tmdb", runner="ray")
    assert playing.wait_for(run) == "Failed"
    until(lambda: "runner: 'ray' is unknown" in playing.log(run), "the log of the run")
    kept = [path for path in (playing.root / "runs/prefect").rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in kept)
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    assert os.environ["TMDB_TOKEN"] == CANARY
