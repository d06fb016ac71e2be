import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact, State

from flows.plan import ACCELERATOR
from flows.reproduce import StageFailed
from flows.train_cascade import train_cascade

pytestmark = pytest.mark.usefixtures("prefect_server")
STAGES = ["draw", "part@one", "part@two", "judge"]
TOGETHER = """
stages:
  pair:
    foreach: [one, two]
    do:
      cmd: >-
        echo $CUDA_VISIBLE_DEVICES > ${item}; touch started-${item};
        for n in $(seq 300); do test -e started-one -a -e started-two && exit 0; sleep 0.1; done; exit 1
      meta: {accelerator: true}
      outs: ["${item}"]
"""


def states_of_tasks(state: State, names: Sequence[str] = (*STAGES, "summary")) -> dict[str, str | None]:
    """Returns the state of each task of a finished flow run, once the server, which hears of them late, shows it."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    deadline_s = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            are_final = len(runs) == len(names) and all(run.state and run.state.is_final() for run in runs)
            if are_final or time.monotonic() > deadline_s:
                return {run.name: run.state_name for run in runs}


def artifacts_of(state: State) -> list[Artifact]:
    """Returns the artifacts of a finished flow run."""
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        return client.read_artifacts(artifact_filter=wanted)


def edit(project: Path, old: str, new: str) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace(old, new))


def test_flow_runs_what_is_stale_and_passes_by_the_rest(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=project, check=True)
    state = train_cascade(return_state=True)
    assert state.result() == dict.fromkeys(STAGES, "UpToDate")
    assert states_of_tasks(state) == dict.fromkeys(STAGES, "UpToDate") | {"summary": "Completed"}

    (project / "brush").write_text("blue\n")
    assert train_cascade() == dict.fromkeys(STAGES, "Ran")
    assert (project / "score").read_text() == "blue\nblue\n"

    edit(project, "parts/two", "brush")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "Ran"}
    edit(project, "brush", "parts/two")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "RunCache"}
    assert train_cascade(force=True) == dict.fromkeys(STAGES, "Ran")


@pytest.mark.long
def test_failing_stage_is_named_and_stops_the_flow(project: Path) -> None:
    edit(project, "parts/two", "nothing")
    state = train_cascade(return_state=True)
    assert state.is_failed()
    with pytest.raises(StageFailed, match=r"stage judge failed: failed to reproduce 'judge': .*exited with 1"):
        state.result()
    assert states_of_tasks(state, STAGES) == dict.fromkeys(STAGES[:3], "Ran") | {"judge": "Failed"}

    edit(project, "nothing", "parts/one")
    assert train_cascade() == dict.fromkeys(STAGES[:3], "UpToDate") | {"judge": "Ran"}


@pytest.mark.long
def test_siblings_run_together_where_there_are_accelerators_for_them(project: Path) -> None:
    (project / "dvc.yaml").write_text(TOGETHER)
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=ACCELERATOR, limit=2))
        try:
            assert train_cascade() == {"pair@one": "Ran", "pair@two": "Ran"}
        finally:
            client.delete_global_concurrency_limit_by_name(ACCELERATOR)
    assert sorted((project / name).read_text().strip() for name in ("one", "two")) == ["0", "1"]


@pytest.mark.long
def test_results_are_pushed_where_that_is_wanted(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    remote = tmp_path_factory.mktemp("remote")
    with (project / ".dvc/config").open("a") as config:
        config.write(f"    remote = there\n['remote \"there\"']\n    url = {remote}\n")
    train_cascade()
    assert not list(remote.iterdir())
    train_cascade(push=True)
    assert {path.name for path in remote.iterdir()} == {"files", "runs"}


@pytest.mark.long
def test_page_at_the_end_tells_outcomes_and_metrics(project: Path) -> None:
    (project / "verdict.json").write_text('{"fine": {"red": 0.25}}')
    text = (project / "dvc.yaml").read_text().replace("cat parts/one ${verdict} > score", "cp verdict.json score.json")
    (project / "dvc.yaml").write_text(text.replace("outs: [score]", "metrics: [{score.json: {cache: false}}]"))
    (page,) = artifacts_of(train_cascade(return_state=True))
    assert page.type == "markdown"
    assert str(page.data).startswith("# 4 of 4 stages ran\n")
    assert "| part@two | Ran |" in str(page.data)
    assert "| fine.red | 0.25 |" in str(page.data)


def test_progress_of_a_stage_is_an_artifact(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.stages.PROGRESS_EVERY_S", 0.1)
    command = (
        "echo 'counting 1/4  1.0 sheep/s  0:00:03 left'; sleep 0.5; echo 'counting 3/4  1.0 sheep/s  0:00:01 left'"
    )
    (project / "dvc.yaml").write_text(f'stages: {{count: {{cmd: "{command}; touch done", outs: [done]}}}}')
    found = {artifact.type: artifact for artifact in artifacts_of(train_cascade(return_state=True))}
    assert float(str(found["progress"].data)) == 75.0
    assert found["progress"].description == "count: 3 of 4. counting: 1.0 sheep/s  0:00:01 left"


def test_a_run_does_not_wait_for_what_its_stages_import(checkout: Path) -> None:
    code = "import sys, flows.train_cascade; print(*sorted({'torch', 'mlflow', 'transformers'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    assert result.stdout == "\n"


def test_an_unknown_experiment_is_refused_before_any_stage(project: Path, checkout: Path) -> None:
    (project / "experiments").symlink_to(checkout / "experiments")
    state = train_cascade(experiment="nothing", return_state=True)
    assert state.is_failed()
    assert "experiment 'nothing' is unknown; known: demo" in str(state.message)
    assert not (project / "picture").exists()
