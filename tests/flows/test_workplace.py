import contextlib
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.plan import plan
from flows.train_cascade import train_cascade
from flows.workplace import PLACE, Choice, workplace
from flows.worktree import git
from minimagen.config import load_params
from minimagen.errors import UserError
from minimagen.experiments import load_experiment

PIPELINE = """
stages:
  draw: {cmd: cp brush picture, deps: [brush], params: [ingest.snapshot], outs: [picture]}
"""


@pytest.fixture
def checkout_of_its_own(tmp_path: Path, checkout: Path) -> Path:
    """A project in Git with the demo's parameters and all experiments, its one stage done."""
    root = tmp_path / "checkout"
    shutil.copytree(checkout / "experiments", root / "experiments")
    shutil.copyfile(checkout / "experiments/demo.yaml", root / "params.yaml")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "brush").write_text("red\n")
    (root / ".gitignore").write_text("/runs\n/picture\n/mlflow.db\n")
    git(root, "init", "--quiet")
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = False\n")
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    commit(root)
    with contextlib.chdir(root), Repo() as repo:
        repo.reproduce()  # pyright: ignore[reportCallIssue]
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message", "a")


def test_nothing_chosen_is_the_checkout_itself(tmp_path: Path) -> None:
    assert workplace(tmp_path, Choice()) == tmp_path


def test_an_experiment_has_a_folder_of_its_own_and_leaves_the_checkout_alone(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    before = (root / "params.yaml").read_bytes()
    project = workplace(root, Choice("scenes-relations"))
    assert project.is_relative_to(root / PLACE)
    assert load_params(project / "params.yaml") == load_experiment(root, "scenes-relations").params
    assert (root / "params.yaml").read_bytes() == before
    assert git(root, "status", "--porcelain", "--", "params.yaml", "brush", "dvc.yaml") == ""


def test_what_the_checkout_has_is_not_made_again(checkout_of_its_own: Path) -> None:
    project = workplace(checkout_of_its_own, Choice("demo"))
    assert (project / "picture").read_text() == "red\n"
    assert [step.is_stale for step in plan(project)] == [False]


def test_runs_and_caches_are_those_of_the_checkout(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    project = workplace(root, Choice(snapshot="later"))
    (project / "runs/one").write_text("state")
    assert (root / "runs/one").read_text() == "state"
    assert (project / "mlflow.db").resolve() == root / "mlflow.db"
    with Repo(str(project)) as repo:
        assert Path(repo.cache.local.path).is_relative_to(root / ".dvc/cache")


def test_a_snapshot_changes_that_one_line_and_what_rests_on_it(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    project = workplace(root, Choice(snapshot="later"))
    old, new = ((folder / "params.yaml").read_text().splitlines() for folder in (root, project))
    assert [line for line in new if line not in old] == ["  snapshot: later"]
    assert [step.is_stale for step in plan(project)] == [True]


def test_the_same_choice_finds_its_folder_again_at_the_commit_of_the_checkout(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    project = workplace(root, Choice("demo"))
    (project / "kept").write_text("data of the experiment")
    (root / "brush").write_text("blue\n")
    commit(root)
    assert workplace(root, Choice("demo", snapshot="later")) == project
    assert (project / "brush").read_text() == "blue\n"
    assert (project / "kept").exists()
    assert load_params(project / "params.yaml").ingest.snapshot == "later"


def test_a_folder_that_is_found_again_has_the_remotes_of_now(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    workplace(root, Choice("demo"))
    (root / ".dvc/config").write_text("[core]\n    remote = new\n['remote \"new\"']\n    url = ../new\n")
    with Repo(str(workplace(root, Choice("demo")))) as repo:
        assert repo.config["core"]["remote"] == "new"
        assert repo.config["remote"]["new"]["url"] == str(root / "new")


def test_an_unknown_source_is_named(checkout_of_its_own: Path) -> None:
    with pytest.raises(UserError, match=r"sources: 'films' is not listed in params.yaml; known: scenes"):
        workplace(checkout_of_its_own, Choice(sources=("films",)))


def test_some_of_the_sources_have_another_folder_than_all(checkout_of_its_own: Path) -> None:
    root = checkout_of_its_own
    text = (root / "params.yaml").read_text()
    more = text.replace("  scenes: data", "  folder: mine\n  scenes: data", 1)
    own = (root / "experiments/own-folder.yaml").read_text()
    section = own[own.index("  folder:\n    captions_file") : own.index("unets:")]
    (root / "params.yaml").write_text(more.replace("  snapshot: demo-1\n", f"  snapshot: demo-1\n{section}", 1))
    some, both = (workplace(root, choice) for choice in (Choice(sources=("scenes",)), Choice(snapshot="later")))
    assert some != both
    assert list(load_params(some / "params.yaml").sources) == ["scenes"]
    assert list(load_params(both / "params.yaml").sources) == ["folder", "scenes"]


def test_a_project_outside_git_is_told_so(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "experiments").symlink_to(checkout / "experiments")
    with pytest.raises(UserError, match="not a git repository"):
        workplace(tmp_path, Choice("demo"))


@pytest.mark.long
@pytest.mark.usefixtures("prefect_server")
def test_the_flow_works_in_that_folder_with_its_code_and_finds_its_work_again(
    checkout_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = checkout_of_its_own
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("cp brush picture", "echo $PYTHONPATH > picture"))
    commit(root)
    monkeypatch.chdir(root)
    assert train_cascade(snapshot="later") == {"draw": "Ran"}
    assert train_cascade(snapshot="later") == {"draw": "UpToDate"}
    project = workplace(root, Choice(snapshot="later"))
    assert (project / "picture").read_text().split(":")[0].strip() == str(project)
    assert (root / "picture").read_text() == "red\n"
