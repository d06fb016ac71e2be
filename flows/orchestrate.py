"""Server, work pool, worker and deployments of this machine in one command: `make orchestrate`, until Ctrl-C.

What dies is started again; what ends, ends with all that it started. Everything it keeps lies below runs/prefect/.
Imports no Prefect: that takes seconds, and belongs to the processes it starts.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import typer

from flows.local_server import AUTH_FILE, EXPORTS_FILE, FOLDER, HOST, LocalServer, announce, open_server, withdraw
from flows.supervise import (
    Service,
    ServiceFailed,
    adopt_orphans,
    end_group_leaders,
    kill_descendants,
    reap,
)
from minimagen.errors import BUSY_CODE, USER_ERROR_CODE, BusyError, UserError
from minimagen.stages.run_lock import run_lock

DEFAULT_PORT = 4200
WORK_POOL = "local"
PREFECT = [sys.executable, "-m", "prefect"]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SERVER_READY_S = 180.0
_WORKER_READY_S = 60.0
_RUN_ENDS_S = 30.0
"""How long a run may take to save; the worker would wait as long."""
_SERVICE_ENDS_S = 10.0
_LOOK_EVERY_S = 0.5


class _StopRequest(BaseException):
    """A signal, on its way up."""


def orchestrate(root: Path, port: int, say: Callable[[str], None]) -> None:
    """Runs everything until SIGINT, SIGTERM or SIGHUP, and leaves no process behind.

    Args:
        root: the project, which holds prefect.yaml.
        port: TCP port of the server on loopback, 1..65535.

    Raises:
        UserError: there is no prefect.yaml, or the port is taken.
        AlreadyRunningError: this command runs already for this project.
        ServiceFailed: server, worker or a deployment did not start, or died too often.
    """
    if not (root / "prefect.yaml").exists():
        raise UserError(f"{root / 'prefect.yaml'}: not found; start this in the root of the project")
    with run_lock(root / FOLDER / "orchestrate.lock"), _signals_raise() as is_stopping:
        _check_port(port)
        adopt_orphans()
        server = open_server(root, port)
        services = server_and_worker(root, server)
        try:
            _start(root, server, services, say)
            _watch(server, services, say)
        except _StopRequest:
            say("stopping: runs save, then all ends")
        finally:
            is_stopping.set()
            withdraw(root)
            _stop(*services)


def server_and_worker(root: Path, server: LocalServer) -> tuple[Service, Service]:
    """Returns both, not started yet."""
    environment = {**_outer_environment(), **server.settings(root)}
    serve = [*PREFECT, "server", "start", "--host", HOST, "--port", str(server.port)]
    work = [*PREFECT, "worker", "start", "--pool", WORK_POOL, "--type", "process"]
    return (
        Service("server", serve, environment, root / FOLDER / "server.log"),
        Service("worker", work, environment, root / FOLDER / "worker.log"),
    )


def _outer_environment() -> dict[str, str]:
    """Returns this environment without addresses of other servers and words of a run; this Python comes first."""
    names = ("PREFECT__", "PREFECT_API_", "PREFECT_PROFILE", "PREFECT_HOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path}


def _start(root: Path, server: LocalServer, services: tuple[Service, Service], say: Callable[[str], None]) -> None:
    serving, working = services
    started = time.monotonic()
    serving.start()
    serving.wait_until(lambda: _answers(server, "/admin/version"), _SERVER_READY_S)
    say(f"server   answers after {time.monotonic() - started:.0f} s")
    _finish("furnish", [sys.executable, "-m", "flows.furnish"], root, serving.environment)
    working.start()
    _finish("deploy", [*PREFECT, "deploy", "--all"], root, serving.environment)
    working.wait_until(lambda: _has_worker(server), _WORKER_READY_S)
    announce(root, server)
    say(f"""worker   works on pool {WORK_POOL!r}, ready after {time.monotonic() - started:.0f} s

Open     {server.page}    (it asks once for the line in {AUTH_FILE})
Export   . {EXPORTS_FILE}    (in another terminal, before any command of prefect)
Run      {Path(sys.executable).parent / "prefect"} deployment run train-cascade --watch
or       {Path(sys.executable).parent / "minimagen"} cascade --watch    (needs no export)
Logs     on the page of each run; those of server and worker in {FOLDER}/
Stop     Ctrl-C
""")


def _watch(server: LocalServer, services: tuple[Service, Service], say: Callable[[str], None]) -> None:
    while True:
        time.sleep(_LOOK_EVERY_S)
        reap(services)
        for service in services:
            if not service.is_running:
                say(f"{service.name} has died, starting it again")
                service.end(signal.SIGTERM, 0.0)
                service.start()
                if service.name == "server":
                    service.wait_until(lambda: _answers(server, "/admin/version"), _SERVER_READY_S)


def _stop(serving: Service, working: Service) -> None:
    """Runs end first, while the server hears of it, then the worker, the server, and whatever is left."""
    runs = psutil.Process().children(recursive=True)
    own = {service.process.pid for service in (serving, working) if service.process is not None}
    end_group_leaders((run for run in runs if run.pid not in own), _RUN_ENDS_S)
    working.end(signal.SIGTERM, _SERVICE_ENDS_S)
    serving.end(signal.SIGTERM, _SERVICE_ENDS_S)
    kill_descendants()


def _finish(name: str, command: list[str], root: Path, environment: Mapping[str, str]) -> None:
    result = subprocess.run(
        command,
        cwd=root,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ServiceFailed(f"{name} failed with exit code {result.returncode}:\n{result.stdout.strip()}")


def _answers(server: LocalServer, path: str) -> bool:
    try:
        server.ask(path)
    except OSError:
        return False
    return True


def _has_worker(server: LocalServer) -> bool:
    workers = json.loads(server.ask(f"/work_pools/{WORK_POOL}/workers/filter", {}))
    return any(worker["status"] == "ONLINE" for worker in workers)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} is taken ({error.strerror}); make orchestrate PORT=... chooses another"
            ) from error


@contextmanager
def _signals_raise() -> Iterator[threading.Event]:
    """Within it the first signal raises; once the event is set, or after the first one, none does."""
    is_stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if not is_stopping.is_set():
            is_stopping.set()
            raise _StopRequest

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield is_stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Runs `python -m flows.orchestrate [--port N]` in the root of a project."""
    parser = argparse.ArgumentParser(prog="make orchestrate", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    port: int = parser.parse_args().port
    try:
        orchestrate(Path().resolve(), port, typer.echo)
    except (UserError, BusyError, ServiceFailed) as error:
        typer.echo(str(error), err=True)
        sys.exit({UserError: USER_ERROR_CODE, ServiceFailed: 1}.get(type(error), BUSY_CODE))


if __name__ == "__main__":
    main()
