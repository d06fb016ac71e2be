"""What a retraining leaves in Git: a commit with dvc.lock and params.yaml, named by a tag, and a branch that moves on.

The next retraining starts from the branch's dvc.lock, so that DVC brings back what was fetched before. Nobody's working
tree or branch is touched.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo

from flows.worktree import git
from minimagen.config import load_params
from minimagen.experiments import PARAMS_FILE
from minimagen.files import write_atomic
from minimagen.stages.promote import Verdict

BRANCH = "retrained"
LOCK_FILE = Path("dvc.lock")
RECORDED = (LOCK_FILE, PARAMS_FILE, Path("data/eval/metrics.json"))


def bring_back(checkout: Path, project: Path) -> None:
    """Gives a fresh worktree the newest dvc.lock there is, and what DVC's cache has of its outs."""
    branch = f"refs/heads/{BRANCH}"
    inside = git(checkout, "rev-parse", "--show-prefix")
    if git(checkout, "for-each-ref", branch):
        content = git(checkout, "show", f"{branch}:{inside}{LOCK_FILE}") + "\n"
        write_atomic(project / LOCK_FILE, content.encode())
    elif (checkout / LOCK_FILE).exists():
        write_atomic(project / LOCK_FILE, (checkout / LOCK_FILE).read_bytes())
    if (project / LOCK_FILE).exists():
        with Repo(str(project)) as repo:
            repo.checkout(force=True, allow_missing=True)


def record(checkout: Path, project: Path, verdict: Verdict) -> str:
    """Commits what a verdict was about and returns the tag of the commit; an earlier record of it stays as it is."""
    snapshot = load_params(project / PARAMS_FILE).ingest.snapshot
    tag = f"{BRANCH}/{snapshot}-v{verdict.version}"
    if git(checkout, "for-each-ref", f"refs/tags/{tag}"):
        return tag
    git(project, "add", "--force", "--", *map(str, RECORDED))
    message = f"retrain {snapshot}: version {verdict.version} {verdict.word}\n\n" + "\n".join(verdict.decision.reasons)
    identity = _identity(project)
    git(project, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message, environment=identity)
    git(project, "tag", "--annotate", "-m", message, tag, environment=identity)
    git(project, "update-ref", f"refs/heads/{BRANCH}", "HEAD")
    return tag


def _identity(folder: Path) -> Mapping[str, str]:
    """Returns an environment in which Git knows who commits, even on a machine where nobody has said."""
    nobody = {"GIT_AUTHOR_NAME": "retrain", "GIT_AUTHOR_EMAIL": "retrain@localhost"}
    nobody |= {"GIT_COMMITTER_NAME": "retrain", "GIT_COMMITTER_EMAIL": "retrain@localhost"}
    return os.environ if git(folder, "config", "--default", "", "--get", "user.email") else {**os.environ, **nobody}
