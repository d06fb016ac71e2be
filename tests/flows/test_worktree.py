import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.worktree import PLACE, git, link_sources, worktree
from minimagen.config import ConfigError, load_params
from minimagen.errors import UserError
from minimagen.stages.run_lock import AlreadyRunningError
from tests.flows.growing_project import add_pictures, make_project

HOLD = """
import os, sys, time
from pathlib import Path
from flows.worktree import worktree
with worktree(Path(sys.argv[1]), "held") as project:
    print(project, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = make_project(tmp_path / "a project", num_steps=10)
    add_pictures(root / "my_pictures", range(2))
    return root


def test_it_is_the_committed_project_with_the_parameters_of_now(checkout: Path) -> None:
    (checkout / "dvc.yaml").write_text("an unfinished edit")
    text = (checkout / "params.yaml").read_text().replace("s0", "'another'")
    (checkout / "params.yaml").write_text(text)

    with worktree(checkout, "w") as project:
        assert (project / "dvc.yaml").read_text().startswith("# The pipeline")
        assert (project / "params.yaml").read_text() == text
        (project / "params.yaml").write_text("changed there")

    assert (checkout / "params.yaml").read_text() == text


def test_runs_database_secrets_sources_cache_and_remote_are_the_checkouts(checkout: Path) -> None:
    (checkout / ".env").write_text("A=1")
    with worktree(checkout, "w") as project:
        for name in ("runs", "mlflow.db", ".env", "my_pictures"):
            assert (project / name).resolve() == checkout / name
        assert len(list((project / "my_pictures").iterdir())) == 3
        with Repo(str(project)) as ours, Repo(str(checkout)) as theirs:
            assert ours.cache.local.path == theirs.cache.local.path
            assert ours.config["remote"]["local"]["url"] == str(checkout / ".dvc-remote")


def test_uncommitted_remotes_and_secrets_are_the_checkouts_and_its_owners_alone(checkout: Path) -> None:
    text = (checkout / ".dvc/config").read_text().replace("remote = local", "remote = far")
    far = "['remote \"far\"']\n    url = s3://bucket/here\n    endpointurl = http://127.0.0.1:1\n"
    (checkout / ".dvc/config").write_text(text + far)
    (checkout / ".dvc/config.local").write_text("['remote \"far\"']\n    secret_access_key = open sesame\n")
    with worktree(checkout, "w") as project:
        with Repo(str(project)) as repo:
            assert repo.config["core"]["remote"] == "far"
            wanted = {
                "url": "s3://bucket/here",
                "endpointurl": "http://127.0.0.1:1",
                "secret_access_key": "open sesame",
            }
            assert wanted.items() <= repo.config["remote"]["far"].items()
        assert (project / ".dvc/config.local").stat().st_mode & 0o077 == 0
        assert "open sesame" not in (project / ".dvc/config").read_text()


def test_a_source_that_was_moved_is_linked_anew(checkout: Path, tmp_path: Path) -> None:
    with worktree(checkout, "w") as project:
        params = load_params(project / "params.yaml")
        (checkout / "my_pictures").rename(tmp_path / "elsewhere")
        (checkout / "my_pictures").symlink_to(tmp_path / "elsewhere")
        assert (project / "my_pictures").resolve() == tmp_path / "elsewhere"

        (project / "my_pictures").unlink()
        (project / "my_pictures").symlink_to(tmp_path / "gone")
        link_sources(checkout, project, params)
        assert (project / "my_pictures").resolve() == tmp_path / "elsewhere"


def test_nothing_of_it_stays(checkout: Path) -> None:
    with pytest.raises(ZeroDivisionError), worktree(checkout, "w") as project:
        (project / "runs/kept").write_text("in the checkout's runs")
        raise ZeroDivisionError

    assert not (checkout / PLACE / "w").exists()
    assert git(checkout, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert git(checkout, "status", "--porcelain") == ""
    assert (checkout / "runs/kept").exists() and len(list((checkout / "my_pictures").iterdir())) == 3


def test_parameters_that_break_a_rule_leave_nothing(checkout: Path) -> None:
    with pytest.raises(ConfigError, match="cascade: missing"), worktree(checkout, "w", "sources: {folder: a}\n"):
        pass
    assert not (checkout / PLACE / "w").exists()


def test_one_process_at_a_time_has_a_name_and_what_a_killed_one_left_is_removed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", HOLD, str(checkout)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        with pytest.raises(AlreadyRunningError, match=r"held\.lock"), worktree(checkout, "held"):
            pass
        with worktree(checkout, "other"):
            assert left.exists(), "a living process's folder was removed"
        os.kill(holder.pid, signal.SIGKILL)
    assert left.exists()

    with worktree(checkout, "other"):
        assert not left.exists()


def test_a_folder_without_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"git rev-parse .*not a git repository"), worktree(tmp_path, "w"):
        pass
