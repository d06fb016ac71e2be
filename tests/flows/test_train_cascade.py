import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from flows.stages import StageFailed
from flows.train_cascade import plan, train_cascade

pytestmark = pytest.mark.usefixtures("prefect_server")
STAGES = ["draw", "part@one", "part@two", "judge"]


def states_of_tasks(state: State) -> dict[str, str | None]:
    """Returns the state of each task of a finished flow run, once the server, which hears of them late, shows it."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    deadline_s = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            are_final = len(runs) == len(STAGES) and all(run.state and run.state.is_final() for run in runs)
            if are_final or time.monotonic() > deadline_s:
                return {run.name: run.state_name for run in runs}


def edit(project: Path, old: str, new: str) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace(old, new))


def test_flow_runs_what_is_stale_and_passes_by_the_rest(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=project, check=True)
    state = train_cascade(return_state=True)
    assert state.result() == dict.fromkeys(STAGES, "UpToDate")
    assert states_of_tasks(state) == dict.fromkeys(STAGES, "UpToDate")

    (project / "brush").write_text("blue\n")
    assert train_cascade() == dict.fromkeys(STAGES, "Ran")
    assert (project / "score").read_text() == "blue\nblue\n"

    edit(project, "parts/two", "brush")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "Ran"}
    edit(project, "brush", "parts/two")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "RunCache"}


def test_failing_stage_is_named_and_stops_the_flow(project: Path) -> None:
    edit(project, "parts/two", "nothing")
    state = train_cascade(return_state=True)
    assert state.is_failed()
    with pytest.raises(StageFailed, match=r"stage judge failed: failed to reproduce 'judge': .*exited with 1"):
        state.result()
    assert states_of_tasks(state) == dict.fromkeys(STAGES[:3], "Ran") | {"judge": "Failed"}

    edit(project, "nothing", "parts/one")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "Ran"}


def test_plan_is_the_order_of_the_graph(project: Path) -> None:
    steps = plan()
    assert [step.stage for step in steps] == STAGES
    assert [step.after for step in steps] == [set(), {"draw"}, {"draw"}, {"part@one", "part@two"}]
    assert [step.is_stale for step in steps] == [True] * 4
    assert not (project / "picture").exists()
