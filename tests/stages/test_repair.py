"""A project whose DVC was cut off at any byte is healed, and a DVC that lives is left alone."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.strictyaml import YAMLValidationError
from ruamel.yaml import YAML

from minimagen.stages import repair
from minimagen.stages.repair import GUARD, REPO_LOCK, RWLOCK, heal, run_repair
from minimagen.tracking.lock import exclusive
from tests.flows.orchestra import make_dvc_project

PIPELINE = """
stages:
  draw: {cmd: cp brush picture, deps: [brush], params: [size], outs: [picture]}
  judge: {cmd: mkdir -p parts && cp picture parts/a, deps: [picture], outs: [parts]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two stages, both done."""
    make_dvc_project(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("size: 3\n")
    (tmp_path / "brush").write_text("red\n")
    monkeypatch.chdir(tmp_path)
    reproduce()
    return tmp_path


def reproduce() -> list[str]:
    """Lets DVC do its work, and returns the stages that were not up to date."""
    with Repo() as repo:
        return [stage.addressing.rpartition(":")[2] for stage in repo.reproduce()]  # pyright: ignore[reportCallIssue]


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def record_of(project: Path, pid: int, command: str = "dvc repro") -> str:
    holder = {"pid": pid, "cmd": command}
    return json.dumps({"write": {str(project / "picture"): holder}, "read": {str(project / "brush"): [holder]}})


def test_nothing_is_wrong_with_what_dvc_leaves(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "dvc.lock").read_bytes()
    run_repair(project)
    assert capsys.readouterr().out == f"repair: nothing to repair in {project}\n"
    assert (project / "dvc.lock").read_bytes() == before
    assert heal(project.parent) == []


@pytest.mark.parametrize(
    "content", [b"", b'{"read": {}, "wri', b"\0" * 64, b"\xff", b"[]", b'{"write": {"a": {"pid": 1}}}']
)
def test_a_torn_record_blocks_dvc_and_is_removed(project: Path, content: bytes) -> None:
    (project / RWLOCK).write_bytes(content)
    (project / "brush").write_text("blue\n")
    with pytest.raises(DvcException):
        reproduce()

    assert heal(project) == [f"{project / RWLOCK}: was torn, removed"]

    assert reproduce() == ["draw", "judge"]


@pytest.mark.parametrize("is_begun", [True, False], ids=["half", "none"])
def test_an_entry_of_what_was_run_before_that_is_half_there_blocks_its_stage(project: Path, is_begun: bool) -> None:
    (whole,) = (path for path in (project / ".dvc/cache/runs").glob("*/*/*") if b"cp brush" in path.read_bytes())
    content = whole.read_bytes()
    whole.unlink()
    if is_begun:
        assert content.index(b"outs:") > content.index(b"deps:")
        (whole.parent / "tmp-of-dvc").write_bytes(content[: content.index(b"outs:")])
    (project / "dvc.lock").unlink()
    (project / "picture").unlink()
    with pytest.raises(DvcException):
        reproduce()
    with exclusive(project / REPO_LOCK):
        assert heal(project) == []

    assert heal(project) == [f"{whole.parent}: was torn, removed"]

    assert reproduce() == ["draw", "judge"]


def test_a_process_that_is_gone_or_another_one_now_is_taken_out(project: Path) -> None:
    for pid, command in ((dead_pid(), "dvc repro"), (os.getpid(), "/usr/bin/dvc repro --of-another-life")):
        (project / RWLOCK).write_text(record_of(project, pid, command))

        assert heal(project) == [f"{project / RWLOCK}: process {pid} ({command}) is gone, taken out"]

        (project / "brush").write_text(f"{pid}\n")
        assert reproduce() == ["draw", "judge"]


def test_a_process_that_lives_stays(project: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "repro"], stdin=subprocess.PIPE) as living:
        (project / RWLOCK).write_text(record_of(project, living.pid))
        assert heal(project) == []
        living.communicate(b"\n")


def test_a_record_that_is_being_written_is_not_judged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "_WAIT_S", 0.0)
    (project / RWLOCK).write_bytes(b'{"rea')
    with exclusive(project / GUARD):
        assert heal(project) == []


@pytest.mark.parametrize("content", ["", "77\n", f" {2**22 + 1}\n", "\0\0"])
def test_what_is_left_of_dvcs_other_locks_holds_nothing_up(project: Path, content: str) -> None:
    for path in (REPO_LOCK, GUARD):
        (project / path).write_text(content)
    (project / "brush").write_text("blue\n")
    started = time.monotonic()
    assert reproduce() == ["draw", "judge"]
    assert time.monotonic() - started < 60


def test_a_lock_file_cut_at_any_byte_is_one_that_dvc_takes(project: Path) -> None:
    path = project / "dvc.lock"
    whole = path.read_bytes()
    num_healed = 0
    for num_bytes in range(len(whole)):
        path.write_bytes(whole[:num_bytes])
        num_healed += len(heal(project))
        document = YAML(typ="safe", pure=True).load(path.read_text()) if path.exists() else None
        assert not path.exists() or COMPILED_LOCKFILE_SCHEMA(document), f"cut at {num_bytes}"
    assert num_healed > len(whole) / 4


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_lock_file_blocks_dvc_and_is_removed(project: Path, content: bytes) -> None:
    path = project / "dvc.lock"
    whole = path.read_bytes()
    path.write_bytes(content)  # as a kill leaves it between opening and writing
    with pytest.raises(YAMLValidationError):
        reproduce()

    assert heal(project) == [f"{path}: was torn after {len(content)} bytes, the first 0 are kept"]

    assert sorted(reproduce()) == ["draw", "judge"]
    assert path.read_bytes() == whole


def test_what_was_whole_before_a_tear_is_kept(project: Path) -> None:
    path = project / "dvc.lock"
    whole = path.read_bytes()
    kept = whole.index(b"  judge:")
    path.write_bytes(whole[: whole.index(b"outs:", kept) + 3])
    with pytest.raises(DvcException):
        reproduce()

    assert heal(project) == [
        f"{path}: was torn after {whole.index(b'outs:', kept) + 3} bytes, the first {kept} are kept"
    ]

    assert reproduce() == ["judge"]
    assert path.read_bytes() == whole


def test_a_lock_file_that_a_living_dvc_writes_is_left_alone(project: Path) -> None:
    (project / "dvc.lock").write_bytes(b"schema: '2")
    with exclusive(project / REPO_LOCK):
        assert heal(project) == []
