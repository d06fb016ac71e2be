"""A working folder of a flow's own: a Git worktree that shares with its checkout what must not exist twice.

    runs/, mlflow.db, .env     links to the checkout's
    DVC's cache and remotes    the checkout's, by absolute path
    sources Git does not keep  links to the checkout's

What a flow changes there touches nobody's work. Knows no stage and no Prefect.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dvc.config import merge
from dvc.repo import Repo

from minimagen.config import Params, load_params
from minimagen.errors import UserError
from minimagen.experiments import PARAMS_FILE
from minimagen.files import write_atomic
from minimagen.stages.run_lock import AlreadyRunningError, run_lock

PLACE = Path(".dvc/tmp/worktrees")
"""Below the project: on the disk of DVC's cache, and ignored by Git and DVC alike."""
DATABASE, SECRETS = "mlflow.db", ".env"
LOCAL_CONFIG = Path(".dvc/config.local")


@contextmanager
def worktree(checkout: Path, name: str, params_text: str | None = None, *, revision: str = "HEAD") -> Iterator[Path]:
    """Holds a project folder at a committed revision, which is removed at the end however the block ends.

    Folders that killed processes left behind are removed first.

    Args:
        checkout: the project, inside a Git repository; DVC's root.
        name: of the folder; one process at a time uses it.
        params_text: what params.yaml says there; None is what the checkout's says now.

    Raises:
        UserError: the project is in no Git repository, has no such revision, or the parameters break a rule.
        AlreadyRunningError: another process works under this name.
    """
    checkout = checkout.resolve()
    with run_lock(checkout / PLACE / f"{name}.lock"):
        _sweep(checkout)
        try:
            yield _make(checkout, checkout / PLACE / name, params_text, revision)
        finally:
            _remove(checkout, checkout / PLACE / name)


def share(checkout: Path, project: Path) -> None:
    """Lets a fresh worktree use the checkout's runs, database, secrets, cache and remotes."""
    (checkout / "runs").mkdir(exist_ok=True)
    (project / "runs").symlink_to(checkout / "runs")
    (project / DATABASE).symlink_to(checkout / DATABASE)  # SQLite follows it, even where there is no database yet.
    if (checkout / SECRETS).exists():
        (project / SECRETS).symlink_to(checkout / SECRETS)
    share_config(checkout, project)


def share_config(checkout: Path, project: Path) -> None:
    """Lets a worktree use the cache and the remotes that the checkout has now, committed or not.

    What comes of it may hold secrets, and only its owner can read it.
    """
    path = project / LOCAL_CONFIG
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    with Repo(str(checkout)) as theirs, Repo(str(project)) as ours, ours.config.edit("local") as config:
        assert isinstance(config, dict)
        for level in theirs.config.REPO_LEVELS:
            merge(config, theirs.config.load_one(level))
        config["cache"]["dir"] = str(Path(theirs.cache.local.path).parents[1])  # above files/md5


def link_sources(checkout: Path, project: Path, params: Params) -> None:
    """Links what the parameters read and Git does not keep: a user's pictures, a local encoder."""
    for path in (*params.sources.values(), Path(params.text_encoder.name)):
        theirs, ours = checkout / path, project / path
        if not path.is_absolute() and theirs.exists() and not ours.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            ours.unlink(missing_ok=True)  # a link to what is gone
            ours.symlink_to(theirs)


def search_path(project: Path) -> Mapping[str, str]:
    """Returns the variable by which commands find the package of a worktree, not the one that is installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")]))}


def git(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Runs git in a folder and returns what it says.

    Raises:
        UserError: git refuses; the message is git's.
    """
    command = ["git", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise UserError(f"{folder}: git {' '.join(arguments[:2])}: {result.stderr.strip()}")
    return result.stdout.strip()


def _make(checkout: Path, folder: Path, params_text: str | None, revision: str) -> Path:
    inside = git(checkout, "rev-parse", "--show-prefix")
    commit = git(checkout, "rev-parse", "--verify", f"{revision}^{{commit}}")
    text = (checkout / PARAMS_FILE).read_text(encoding="utf-8") if params_text is None else params_text
    _remove(checkout, folder)
    git(checkout, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    project = folder / inside
    share(checkout, project)
    write_atomic(project / PARAMS_FILE, text.encode())
    link_sources(checkout, project, load_params(project / PARAMS_FILE))
    return project


def _sweep(checkout: Path) -> None:
    """Removes the folders of processes that died; those of living ones stay."""
    for lock in sorted((checkout / PLACE).glob("*.lock")):
        if lock.with_suffix("").exists():
            try:
                with run_lock(lock):
                    _remove(checkout, lock.with_suffix(""))
            except AlreadyRunningError:
                continue


def _remove(checkout: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
        git(checkout, "worktree", "prune")
