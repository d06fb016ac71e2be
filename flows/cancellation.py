"""A cancelled run whose worker is gone ends all the same: it looks now and then whether it was cancelled.

A worker tells its runs by a signal; one that was started after the run has never heard of it and tells it nothing.
"""

import contextvars
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

LOOK_EVERY_S = 5.0
NUM_LOOKS = 2
"""A worker that lives has told its run long before it is seen cancelled so often."""


@contextmanager
def cancellation_ends_run() -> Iterator[None]:
    """Within it this process gets SIGTERM if its run is cancelled and no worker says so."""
    run = flow_run.id
    if run is None:
        yield
        return
    is_over = threading.Event()
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(_look, UUID(run), is_over), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _look(run: UUID, is_over: threading.Event) -> None:
    num_seen = 0
    with get_client(sync_client=True) as client:
        while not is_over.wait(LOOK_EVERY_S):
            num_seen = num_seen + 1 if _is_cancelled(client, run) else 0
            if num_seen == NUM_LOOKS:
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _is_cancelled(client: SyncPrefectClient, run: UUID) -> bool:
    try:
        state = client.read_flow_run(run).state
    except (httpx.HTTPError, ObjectNotFound):  # the server is not there now
        return False
    return state is not None and state.is_cancelling()
