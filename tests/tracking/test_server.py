"""The pages of MLflow are for this machine alone, and one signal ends all of their processes."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from minimagen.config import load_params
from minimagen.tracking.server import ServerError, serve
from minimagen.tracking.ship import ship_pending
from tests.tracking.conftest import Stages

CHECKOUT = Path(__file__).parents[2]

PROGRAM = """
import sys
from pathlib import Path
from minimagen.tracking.server import serve
def show(pages):
    for page in pages: print(page.title, page.url, sep="|", file=sys.stderr)
    print("ready", flush=True)
serve(Path(sys.argv[1]), port=int(sys.argv[2]), on_ready=show)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RunningServer:
    """A server of a project with one shipped run, and what it said."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, root: Path) -> None:
        self.process = process
        self.port = port
        self.root = root

    def status(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("served")
    (root / "mlflow.db").write_bytes(empty_database.read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_TRACKING", "on")
        stages = Stages(root, load_params(CHECKOUT / "experiments" / "demo.yaml"))
        with stages.train() as stage:
            stage.finish({"val.loss": 0.25})
        ship_pending(root)
    port = free_port()
    with (root / "log").open("wb") as log:
        command = [sys.executable, "-c", PROGRAM, str(root), str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=CHECKOUT, env=environment)
    assert process.stdout is not None
    is_ready = any(line == b"ready\n" for line in process.stdout)
    try:
        assert is_ready, (root / "log").read_text()
        yield RunningServer(process, port, root)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("evil.example", 403),
        ("10.evil.example", 403),
        ("192.168.evil.example", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("127.0.0.1:1", 403),
    ],
)
def test_only_its_own_names_are_answered(running: RunningServer, host: str, status: int) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"

    assert running.status("GET", path, {"Host": host.format(port=running.port)}) == status


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_pages_of_others_cannot_write(running: RunningServer, origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "application/json"}

    body = json.dumps({"name": "evil"})
    assert running.status("POST", "/api/2.0/mlflow/experiments/create", headers, body) == 403


def test_files_cannot_be_uploaded_or_jobs_started(running: RunningServer) -> None:
    headers = {"Content-Type": "application/json"}

    assert running.status("PUT", "/api/2.0/mlflow-artifacts/artifacts/x", headers, "x") >= 400
    assert running.status("POST", "/ajax-api/3.0/jobs/", headers, "{}") >= 400


def test_the_pages_that_compare_runs_are_told(running: RunningServer) -> None:
    told = [line for line in (running.root / "log").read_text().splitlines() if "|" in line]

    assert [line.partition("|")[0] for line in told][-3:] == [
        "scenes: cascades compared",
        "scenes: training curves",
        "all of MLflow",
    ]


def test_it_listens_on_loopback_only(running: RunningServer) -> None:
    processes = psutil.Process(running.process.pid).children(recursive=True)
    addresses = {c.laddr.ip for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN}

    assert addresses == {"127.0.0.1"}


def test_one_signal_ends_it_with_all_its_processes(running: RunningServer) -> None:
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
