"""MLflow's pages for the runs of this project, served to this machine alone until a signal says stop.

Knows where the database is and which doors to shut; MLflow does the rest in a process group of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType

from minimagen.errors import UserError
from minimagen.tracking.doorkeeper import open_token
from minimagen.tracking.guarded_app import APP_NAME, COOKIE_VARIABLE, TOKEN_VARIABLE
from minimagen.tracking.location import artifact_location, project_root, tracking_uri
from minimagen.tracking.view import compare_url, curves_url, has_views

HOST = "127.0.0.1"
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 10.0
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "DO_NOT_TRACK": "true",
}


class ServerError(RuntimeError):
    """The server did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page worth opening."""

    title: str
    url: str


def serve(root: Path, *, port: int, on_ready: Callable[[list[Page]], None]) -> None:
    """Serves MLflow's pages on 127.0.0.1 until SIGINT or SIGTERM, and leaves no process behind.

    Args:
        port: TCP port, 1..65535.
        on_ready: called once, as soon as the server answers, with the pages that compare runs and the start page.

    Raises:
        ValueError: MLFLOW_TRACKING_URI names a server, which has pages of its own.
        ServerError: the port is taken, the server did not start (its own output says why) or ended by itself.
    """
    command = _command(project_root(root), port)
    _check_port(port)
    _check_entry_point()
    token = open_token(project_root(root))
    environment = {TOKEN_VARIABLE: token, COOKIE_VARIABLE: f"minimagen-{port}"}
    with _signals_raise():
        process = subprocess.Popen(command, env={**os.environ, **_ENVIRONMENT, **environment}, start_new_session=True)
        try:
            _wait_until_ready(process, port)
            on_ready(_pages(f"http://{HOST}:{port}", token))
            raise ServerError(f"mlflow server ended by itself with exit code {process.wait()}")
        except _StopRequest:
            return
        finally:
            _stop_group(process)


def _command(root: Path, port: int) -> list[str]:
    files = artifact_location(root)
    if files is None:
        raise UserError(f"MLFLOW_TRACKING_URI is {os.environ['MLFLOW_TRACKING_URI']!r}: open the pages of that server")
    options = {
        "--backend-store-uri": tracking_uri(root),
        "--default-artifact-root": files,
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": f"{HOST}:{port},localhost:{port}",
        "--cors-allowed-origins": f"http://{HOST}:{port},http://localhost:{port}",
        "--x-frame-options": "DENY",
        "--app-name": APP_NAME,
        # No log of requests: the first one of a browser has the token in it. h11 bounds what comes before a body.
        "--uvicorn-opts": "--http h11 --no-access-log --timeout-keep-alive 5",
    }
    flat = [part for option in options.items() for part in option]
    return [sys.executable, "-m", "mlflow", "server", *flat, "--no-serve-artifacts"]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(f"port {port} is taken: {error.strerror}") from error


def _check_entry_point() -> None:
    """MLflow finds the door by what was told of this project as it was installed."""
    if APP_NAME not in {point.name for point in entry_points(group="mlflow.app")}:
        raise ServerError("this environment was made before `minimagen ui` had a door: make setup")


def _get(url: str, token: str = "") -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with opener.open(request, timeout=10) as answer:
        return answer.read()


def _pages(base_url: str, token: str) -> list[Page]:
    """Every address carries the token: the first that a browser opens lets it in, and the door takes it away."""
    answer = json.loads(_get(f"{base_url}/api/2.0/mlflow/experiments/search?max_results=100", token))
    door = f"{base_url}/?token={token}"
    pages: list[Page] = []
    for experiment in answer.get("experiments", []):
        if has_views([tag["key"] for tag in experiment.get("tags", [])]):
            name, number = experiment["name"], experiment["experiment_id"]
            pages.append(Page(f"{name}: cascades compared", compare_url(door, number)))
            pages.append(Page(f"{name}: training curves", curves_url(door, number)))
    return [*pages, Page("all of MLflow", door)]


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"mlflow server did not start, exit code {process.returncode}")
        try:
            _get(f"http://{HOST}:{port}/health")
            return
        except OSError:
            time.sleep(0.2)
    raise ServerError(f"mlflow server did not answer on port {port} within {_READY_TIMEOUT_S:.0f} s")


class _StopRequest(BaseException):
    """SIGTERM, on its way up to ``serve``."""


@contextmanager
def _signals_raise() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _StopRequest

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server with its workers; a second signal meanwhile changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for number, patience_s in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, _STOP_TIMEOUT_S)):
        deadline = time.monotonic() + patience_s
        try:
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return
