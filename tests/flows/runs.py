"""What a Prefect server knows of a finished run, and all that it has written down of anything."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, State
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL


def artifacts_of(state: State) -> list[Artifact]:
    """Returns the artifacts of a finished flow run."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        return client.read_artifacts(artifact_filter=wanted)


def states_of_tasks(state: State, num_tasks: int) -> list[tuple[str, str | None]]:
    """Returns name and state of each task of a finished flow run, once the server, which hears late, shows them."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    deadline_s = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            are_final = len(runs) == num_tasks and all(run.state and run.state.is_final() for run in runs)
            if are_final or time.monotonic() > deadline_s:
                return sorted((run.name, run.state_name) for run in runs)


def log_of(state: State, *, until: str) -> str:
    """Returns what a finished run has said, once the server, which hears late, has heard this of it."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    deadline_s = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
            text = "\n".join(each.message for each in found)
            if until in text or time.monotonic() > deadline_s:
                return text


def all_rows() -> Sequence[str]:
    """Returns every row of every table of the server's database, as text."""
    path = PREFECT_API_DATABASE_CONNECTION_URL.value().partition(":///")[2]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [str(row) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
