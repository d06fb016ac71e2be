import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prefect import flow
from prefect.states import Failed

from flows.stages import StageFailed, is_worth_a_retry, reproduce, run_stage

STOPPABLE = """
stages:
  long:
    cmd: >-
      trap 'echo saving; echo step > saved; exit 143' TERM;
      echo started > started; sleep 600 & wait
    outs: [never]
"""
REPRODUCE = "from flows.stages import reproduce; reproduce('long', lambda line: print(line, flush=True))"


def ignore(_: str) -> None:
    """Says nothing."""


def test_outcome_is_what_dvc_decided(project: Path) -> None:
    said: list[str] = []
    assert reproduce("draw", said.append) == "Ran"
    assert "Running stage 'draw':" in said
    assert reproduce("draw", ignore) == "UpToDate"

    (project / "brush").write_text("blue\n")
    reproduce("draw", ignore)
    (project / "brush").write_text("red\n")
    assert reproduce("draw", ignore) == "RunCache"
    assert (project / "picture").read_text() == "red\n"


def test_failure_says_what_dvc_said(project: Path) -> None:
    (project / "brush").unlink()
    with pytest.raises(StageFailed, match=r"stage draw failed: failed to reproduce 'draw': .*/brush"):
        reproduce("draw", ignore)


def test_stage_finds_this_environment_and_no_word_of_prefect_in_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "secret of the engine")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (project / "dvc.yaml").write_text("stages: {look: {cmd: env > seen, outs: [seen]}}")

    reproduce("look", ignore, parent_flow="the-flow-run")

    seen = (project / "seen").read_text().splitlines()
    assert "MINIMAGEN_FLOW_RUN_ID=the-flow-run" in seen
    assert f"PATH={Path(sys.executable).parent}:/usr/bin:/bin" in seen
    assert not any(line.startswith("PREFECT__") for line in seen)


@pytest.mark.parametrize(
    ("code", "is_killed"), [(-9, True), (137, True), (1, False), (143, False), (130, False), (-15, False)]
)
def test_only_a_killed_stage_is_worth_another_try(code: int, is_killed: bool) -> None:
    error = StageFailed("a", f"failed to reproduce 'a': failed to run: x, exited with {code}")
    assert is_worth_a_retry(None, None, Failed(data=error)) == is_killed
    assert str(error).startswith("stage a failed: ")


@pytest.mark.usefixtures("prefect_server")
def test_killed_stage_is_started_again(project: Path) -> None:
    command = "test -e tried || { touch tried; kill -9 $$; }; touch done"
    (project / "dvc.yaml").write_text(f"stages: {{fragile: {{cmd: '{command}', outs: [done]}}}}")

    @flow
    def only() -> str | None:
        return run_stage.with_options(retry_delay_seconds=0)("fragile", return_state=True).name

    assert only() == "Ran"


def test_stopped_run_lets_its_stage_save_and_leaves_no_process(project: Path, checkout: Path) -> None:
    (project / "dvc.yaml").write_text(STOPPABLE)
    environment = os.environ | {"PYTHONPATH": str(checkout), "SHELL": "/bin/bash"}
    process = subprocess.Popen([sys.executable, "-c", REPRODUCE], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not (project / "started").exists():
        assert process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    assert (project / "saved").exists()
    assert "saving" in output
    assert psutil.wait_procs(family, timeout=10)[1] == []
