import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.reproduce import StageFailed, reproduce

STOPPABLE = """
stages:
  long:
    cmd: >-
      trap 'echo saving; echo step > saved; exit 143' TERM;
      echo started > started; sleep 600 & wait
    outs: [never]
"""
REPRODUCE = "from flows.reproduce import reproduce; reproduce('long', lambda line: print(line, flush=True))"


def ignore(_: str) -> None:
    """Says nothing."""


@pytest.mark.long
def test_outcome_is_what_dvc_decided(project: Path) -> None:
    said: list[str] = []
    assert reproduce("draw", said.append) == "Ran"
    assert "Running stage 'draw':" in said
    assert reproduce("draw", ignore) == "UpToDate"
    assert reproduce("draw", ignore, is_forced=True) == "Ran"

    (project / "brush").write_text("blue\n")
    reproduce("draw", ignore)
    (project / "brush").write_text("red\n")
    assert reproduce("draw", ignore) == "RunCache"
    assert (project / "picture").read_text() == "red\n"


def test_another_project_is_reproduced_where_it_lies(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    assert reproduce("draw", ignore, root=project) == "Ran"
    assert (project / "picture").exists()


def test_failure_says_what_dvc_said(project: Path) -> None:
    (project / "brush").unlink()
    with pytest.raises(StageFailed, match=r"stage draw failed: failed to reproduce 'draw': .*/brush"):
        reproduce("draw", ignore)


def test_failure_says_what_the_stage_said_last(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {a: {cmd: 'echo params.yaml: size: wrong; exit 2', outs: [o]}}")
    with pytest.raises(StageFailed, match=r"exited with 2\n(.*\n)*params.yaml: size: wrong$"):
        reproduce("a", ignore)


def test_stage_finds_this_environment_and_no_word_of_prefect_in_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "secret of the engine")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "secret of the server")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (project / "dvc.yaml").write_text("stages: {look: {cmd: env > seen, outs: [seen]}}")

    reproduce("look", ignore, environment={"MINIMAGEN_FLOW_RUN_ID": "the-flow-run"})

    seen = (project / "seen").read_text().splitlines()
    assert "MINIMAGEN_FLOW_RUN_ID=the-flow-run" in seen
    assert f"PATH={Path(sys.executable).parent}:/usr/bin:/bin" in seen
    assert not any(line.startswith("PREFECT_") for line in seen)


def failure(code: int) -> StageFailed:
    return StageFailed("a", f"failed to reproduce 'a': failed to run: x, exited with {code}")


@pytest.mark.parametrize(
    ("code", "is_killed"), [(-9, True), (137, True), (1, False), (143, False), (130, False), (-15, False)]
)
def test_a_stage_counts_as_killed_by_its_exit_code(code: int, is_killed: bool) -> None:
    assert failure(code).was_killed == is_killed


@pytest.mark.parametrize(
    ("reason", "is_busy"),
    [
        ("failed to reproduce 'a': failed to run: x, exited with 75", True),
        ("failed to reproduce 'a': 'out' is busy, it is being blocked by:\n  (PID 1): dvc repro -s a", True),
        ("Unable to acquire lock. Most likely another DVC process is running", True),
        ("failed to reproduce 'a': failed to run: x, exited with 175", False),
    ],
)
def test_a_stage_counts_as_busy_by_what_dvc_says(reason: str, is_busy: bool) -> None:
    assert StageFailed("a", reason).was_busy == is_busy


def test_what_a_stage_prints_does_not_make_it_killed() -> None:
    assert not StageFailed("a", "failed to run: x, exited with 1", "child exited with -9").was_killed


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
