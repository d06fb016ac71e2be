"""The pages of MLflow are for the owner of this machine alone, and one signal ends all of their processes."""

import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from minimagen.tracking.doorkeeper import TOKEN_FILE, open_token
from minimagen.tracking.server import ServerError, serve
from tests.canary import CANARY, places_of, tellers_of
from tests.probes import request, run_probes, table
from tests.tracking.mlflow_probes import SEARCH, allowed, mlflow_probes
from tests.tracking.running_pages import RunningPages, running_pages, write_shipped_run


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[RunningPages]:
    root = tmp_path_factory.mktemp("served")
    (root / "mlflow.db").write_bytes(empty_database.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_TRACKING", "on")
        patch.setenv("TMDB_TOKEN", CANARY)
        write_shipped_run(root)
        with running_pages(root) as pages:
            yield pages


def test_every_probe_is_answered_as_specified(running: RunningPages) -> None:
    probes = mlflow_probes(running.run_id)
    assert len(probes) >= 24
    results = run_probes([*allowed(), *probes], running.door)
    assert [probe.name for probe, answer in results if probe.complaint(answer)] == [], table(results)


def test_the_address_that_is_told_lets_a_browser_in_once_and_for_all(running: RunningPages) -> None:
    token = open_token(running.root)
    entered = request("GET", f"/?token={token}", with_key=False)(running.door)
    assert entered.status == 303
    headers = dict(line.split(": ", 1) for line in entered.text.lower().split("\r\n")[1:] if ": " in line)
    assert headers["location"] == "/"
    assert headers["set-cookie"].endswith("; path=/; httponly; samesite=lax")
    cookie = f"minimagen-{running.door.port}={token}"
    assert request("GET", SEARCH, {"Cookie": f"other=1; {cookie}"}, with_key=False)(running.door).status == 200
    assert stat.S_IMODE((running.root / TOKEN_FILE).stat().st_mode) == 0o600


def test_no_key_is_written_and_the_token_where_it_belongs_alone(running: RunningPages) -> None:
    token, processes = open_token(running.root), psutil.Process(running.process.pid).children(recursive=True)
    assert places_of(running.root) == set()
    assert places_of(running.root, token) == {str(TOKEN_FILE), "log"}
    lines = [line for line in running.said.splitlines() if token in line]
    assert all("|http://" in line for line in lines)
    assert tellers_of(processes) == tellers_of(processes, token) == []


def test_the_pages_that_compare_runs_are_told(running: RunningPages) -> None:
    told = [line for line in running.said.splitlines() if "|" in line]

    assert [line.partition("|")[0] for line in told][-3:] == [
        "scenes: cascades compared",
        "scenes: training curves",
        "all of MLflow",
    ]
    assert all(f"/?token={open_token(running.root)}" in line for line in told[-3:])


def test_it_listens_on_loopback_only(running: RunningPages) -> None:
    processes = psutil.Process(running.process.pid).children(recursive=True)
    addresses = {c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN}

    assert addresses == {"127.0.0.1"}


def test_one_signal_ends_it_with_all_its_processes(running: RunningPages) -> None:
    processes = psutil.Process(running.process.pid).children(recursive=True)

    running.process.send_signal(signal.SIGINT)
    running.process.communicate(timeout=60)

    assert len(processes) >= 2
    assert running.process.returncode == 0
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_taken_port_is_an_error_that_names_it(project: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(ServerError, match=f"port {port} is taken"):
            serve(project, port=port, on_ready=lambda pages: None)


def test_a_server_elsewhere_is_not_served_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")

    with pytest.raises(ValueError, match="open the pages of that server"):
        serve(project, port=5000, on_ready=lambda pages: None)
