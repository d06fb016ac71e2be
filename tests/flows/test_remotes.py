"""Results in a bucket: what one checkout has pushed, another one pulls and does not do again."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from flows.push import PushFailed, push_results
from flows.train_cascade import train_cascade
from flows.worktree import worktree
from tests.flows.growing_project import add_pictures, make_project
from tests.simulators.bucket import Bucket, open_bucket

pytestmark = pytest.mark.long

# Each stage says outside of the project that its command runs.
PIPELINE = """
stages:
  draw:
    cmd: echo draw >> "$STARTED" && cat brush > picture
    deps: [brush]
    outs: [picture]
  frame:
    cmd: echo frame >> "$STARTED" && mkdir framed && cp picture framed/picture
    deps: [picture]
    outs: [framed]
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with open_bucket(tmp_path_factory.mktemp("bucket") / "log") as opened:
        yield opened


@pytest.fixture
def started(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stages say that they run; only the environment holds what opens the bucket."""
    path = tmp_path / "started"
    path.touch()
    for name, value in {**bucket.credentials, "STARTED": str(path)}.items():
        monkeypatch.setenv(name, value)
    return path


def dvc(root: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def make_checkout(root: Path, bucket: Bucket) -> Path:
    """Makes a committed project of two stages whose remote is added as docs/scaling.md says."""
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    dvc(root, "remote", "add", "-d", "bucket", f"{bucket.url}/{root.parent.name}")
    dvc(root, "remote", "modify", "bucket", "endpointurl", bucket.endpoint)
    (root / ".gitignore").write_text("/.dvc/tmp\n/.dvc/cache\n/picture\n/framed\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "brush").write_text("red\n")
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "now")


def test_another_checkout_does_nothing_again(tmp_path: Path, bucket: Bucket, started: Path) -> None:
    first = make_checkout(tmp_path / "first", bucket)
    for color in ("red", "blue"):
        (first / "brush").write_text(f"{color}\n")
        dvc(first, "repro")
        dvc(first, "push", "--run-cache")
    commit(first)
    done = started.read_text()
    assert done == "draw\nframe\n" * 2

    git(tmp_path, "clone", "--quiet", str(first), "second")
    second = tmp_path / "second"
    dvc(second, "pull", "--run-cache")
    dvc(second, "repro")
    assert (second / "framed/picture").read_text() == "blue\n"
    (second / "brush").write_text("red\n")  # what no commit tells of, but the run cache
    dvc(second, "repro", "--pull")
    assert (second / "framed/picture").read_text() == "red\n"
    assert started.read_text() == done
    (second / "brush").write_text("green\n")
    dvc(second, "repro")
    assert started.read_text() == "draw\nframe\n" * 3


@pytest.mark.usefixtures("prefect_server")
def test_what_a_flow_has_pushed_a_second_machine_does_not_do_again(
    tmp_path: Path, bucket: Bucket, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_checkout(tmp_path / "first", bucket)
    monkeypatch.chdir(first)
    assert train_cascade(push=True) == {"draw": "Ran", "frame": "Ran"}
    names = [name.split("/")[2] for name in bucket.names() if f"/{tmp_path.name}/" in name]
    assert sorted(set(names)) == ["files", "runs"]
    commit(first)

    git(tmp_path, "clone", "--quiet", str(first), "second")
    dvc(tmp_path / "second", "pull", "--run-cache")
    monkeypatch.chdir(tmp_path / "second")
    assert train_cascade() == {"draw": "UpToDate", "frame": "UpToDate"}
    assert started.read_text() == "draw\nframe\n"


def test_a_push_that_is_refused_says_why(project: Path, started: Path, bucket: Bucket) -> None:
    for words in (
        ["add", "-d", "bucket", "s3://no-such-bucket/here"],
        ["modify", "bucket", "endpointurl", bucket.endpoint],
    ):
        dvc(project, "remote", *words)
    dvc(project, "repro", "--quiet")
    with disable_run_logger(), pytest.raises(PushFailed, match=r"no-such-bucket|NoSuchBucket"):
        push_results.fn(project)


def test_a_remote_that_is_not_committed_is_the_worktrees_too(tmp_path: Path, bucket: Bucket, started: Path) -> None:
    checkout = make_project(tmp_path / "project", num_steps=10)
    add_pictures(checkout / "my_pictures", range(2))
    dvc(checkout, "remote", "add", "-d", "bucket", f"{bucket.url}/of-a-worktree")
    dvc(checkout, "remote", "modify", "bucket", "endpointurl", bucket.endpoint)
    with worktree(checkout, "w") as project:
        shutil.rmtree(project / ".dvc/cache", ignore_errors=True)
        (project / "dvc.yaml").write_text(PIPELINE)
        (project / "brush").write_text("green\n")
        dvc(project, "repro")
        dvc(project, "push")
    assert sum("of-a-worktree/files/md5/" in key for key in bucket.names()) == 2
    assert not (checkout / ".dvc-remote").exists()
