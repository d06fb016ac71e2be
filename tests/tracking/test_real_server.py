"""MLflow's own server, killed in the middle of a run and started again after it, holds every point once."""

import contextlib
import functools
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimagen.tracking.ship import ship_pending
from minimagen.tracking.shipper import start_shipper
from tests.flows.orchestra import free_port
from tests.torture import whole_only
from tests.tracking.conftest import Stages
from tests.tracking.trouble import CURVE

pytestmark = [
    pytest.mark.timeout(900),
    whole_only,
]


@contextlib.contextmanager
def server(root: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server on loopback over the project's database; it is killed in the end."""
    options = ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}", "--host", "127.0.0.1", "--port", str(port)]
    flags = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (root / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"],
            cwd=root,
            env=os.environ | flags,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 240
        while not _is_well(port):
            assert time.monotonic() < deadline and process.poll() is None, (root / "server.log").read_text()
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_well(port: int) -> bool:
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    return False


def points_in(root: Path) -> list[tuple[int, float]]:
    with contextlib.closing(sqlite3.connect(root / "mlflow.db", timeout=60)) as database:
        return database.execute("SELECT step, value FROM metrics WHERE key = 'loss' ORDER BY step").fetchall()


def test_a_killed_server_of_mlflows_has_every_point_once(
    tracked_project: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("minimagen.tracking.stage.start_shipper", functools.partial(start_shipper, interval_s=0.05))
    monkeypatch.setattr("minimagen.tracking.stage.FINISH_TIMEOUT_S", 2.0)
    middle = len(CURVE) // 2
    with server(tracked_project, port) as first, stages.train(is_live=True) as stage:
        for step, loss in CURVE[:middle]:
            stage.metrics(step, {"loss": loss})
        deadline = time.monotonic() + 120
        while not points_in(tracked_project):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGKILL)
        for step, loss in CURVE[middle:]:
            stage.metrics(step, {"loss": loss})

    with server(tracked_project, port):
        (report,) = ship_pending(tracked_project)

    assert report.problem is None
    assert points_in(tracked_project) == CURVE
