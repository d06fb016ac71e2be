"""A stage ends with its DVC: killed while it runs, killed before it could ask, and with a shell between the two."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.stages.dvc_parent import RWLOCK, processes_up_to_dvc

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
STAGE = """
import signal, sys
from minimagen.stages.dvc_parent import end_with_dvc
signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), sys.exit(0)))
end_with_dvc()
print("works", flush=True)
signal.pause()
"""
DVC = """
import json, os, subprocess, sys
from pathlib import Path
record = {"read": {}, "write": {"data/models": {"pid": os.getpid(), "cmd": "dvc repro"}}}
Path(".dvc/tmp/rwlock").write_text(json.dumps(record))
subprocess.run(sys.argv[1:])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of DVC's in which a stage runs."""
    (tmp_path / RWLOCK).parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train@base")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path


def record(project: Path, pid: int) -> None:
    writers = {"data/models/base": {"pid": pid, "cmd": "dvc repro"}}
    (project / RWLOCK).write_text(json.dumps({"read": {"data/curated": []}, "write": writers}))


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def shell(*command: str) -> list[str]:
    """Returns a command that a shell runs as its child and waits for, as /bin/sh of some systems does for DVC."""
    return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]


@pytest.mark.parametrize("stage", [[sys.executable, "-c", STAGE], shell(sys.executable, "-c", STAGE)])
def test_a_stage_is_told_when_its_dvc_is_killed(project: Path, stage: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", DVC, *stage], stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout is not None
        assert dvc.stdout.readline() == "works\n"

        dvc.kill()

        assert dvc.stdout.readline() == "told\n"


@pytest.mark.parametrize("stage", [[sys.executable, "-c", STAGE], shell(sys.executable, "-c", STAGE)])
def test_a_stage_whose_dvc_was_killed_before_does_nothing(project: Path, stage: list[str]) -> None:
    record(project, dead_pid())

    result = subprocess.run(stage, capture_output=True, text=True, timeout=60, check=False)

    assert result.stdout == "told\n"
    assert "the DVC that started this is gone" in result.stderr


def test_the_way_to_dvc_leads_over_what_it_has_started(project: Path) -> None:
    record(project, os.getppid())
    assert processes_up_to_dvc(project) == [os.getppid()]
    record(project, dead_pid())
    assert processes_up_to_dvc(project / "data") is None


@pytest.mark.parametrize("content", [None, "", '{"read": {}, "wri', "[]", '{"read": {}, "write": {"a": 3}}'])
def test_where_dvc_says_nothing_the_parent_counts(project: Path, content: str | None) -> None:
    if content is not None:
        (project / RWLOCK).write_text(content)
    assert processes_up_to_dvc(project) == [os.getppid()]


def test_outside_of_dvc_nobody_is_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    record(project, dead_pid())
    with subprocess.Popen([sys.executable, "-c", STAGE], stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "works\n"
        stage.send_signal(signal.SIGKILL)
