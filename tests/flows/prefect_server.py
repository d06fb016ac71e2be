"""Prefect's server as `make orchestrate` starts it, without worker and deployments. Imports no pytest."""

import base64
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.local_server import LocalServer, open_server
from flows.orchestrate import server_and_worker
from tests.flows.orchestra import free_port
from tests.probes import Door

_READY_S = 180.0


@contextmanager
def running_server(root: Path) -> Iterator[Door]:
    """Starts the server and gives the door to it."""
    server = open_server(root, free_port())
    serving, _ = server_and_worker(root, server)
    serving.start()
    try:
        serving.wait_until(lambda: _answers(server), _READY_S)
        yield door_of(server)
    finally:
        serving.end(signal.SIGTERM, 10.0)


def door_of(server: LocalServer) -> Door:
    """Returns a server as probes see it."""
    return Door(server.port, {"Authorization": f"Basic {base64.b64encode(server.auth.encode()).decode()}"})


def _answers(server: LocalServer) -> bool:
    with suppress(OSError):
        server.ask("/admin/version")
        return True
    return False
