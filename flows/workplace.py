"""Where a flow works: the checkout as it is, or a kept git worktree in which params.yaml says what was chosen.

A worktree stays, so that the next run of the same choice goes on with its data; its runs/ and caches are the
checkout's. Knows no stage and no Prefect.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo
from ruamel.yaml import YAML

from flows.worktree import git, link_sources, share, share_config
from minimagen.config import Params, validate_params
from minimagen.errors import UserError
from minimagen.experiments import PARAMS_FILE, load_experiment
from minimagen.files import canonical_json, sha256_bytes, write_atomic
from minimagen.params_text import open_text, text_of

PLACE = Path(".dvc/tmp/experiments")
"""Below the project: on the disk of DVC's cache, and ignored by Git and DVC alike."""
LOCK_FILE = Path("dvc.lock")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run instead of what params.yaml says; all empty: nothing else."""

    experiment: str | None = None
    """A name in experiments/; None is params.yaml."""
    sources: tuple[str, ...] = ()
    """Names among its sources; none given is all of them."""
    snapshot: str | None = None
    """The label of the sources' snapshot; None leaves it."""


def workplace(checkout: Path, choice: Choice) -> Path:
    """Returns the folder of a project whose params.yaml says what was chosen: the checkout, or a worktree of its HEAD.

    Raises:
        UserError: experiment or source is unknown, the parameters break a rule, or the checkout is in no Git
            repository.
    """
    if choice == Choice():
        return checkout
    text, params = chosen_params(checkout, choice)
    inside = git(checkout, "rev-parse", "--show-prefix")
    folder = checkout / PLACE / _name(choice, params)
    if not (folder / inside / PARAMS_FILE).exists():
        _make(checkout, folder, inside)
    share_config(checkout, folder / inside)
    commit = git(checkout, "rev-parse", "HEAD")
    if git(folder, "rev-parse", "HEAD") != commit:
        git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    project = folder / inside
    if (project / PARAMS_FILE).read_text(encoding="utf-8") != text:
        write_atomic(project / PARAMS_FILE, text.encode())
    link_sources(checkout, project, params)
    return project


def chosen_params(checkout: Path, choice: Choice) -> tuple[str, Params]:
    """Returns the text of params.yaml for a choice, comments kept, and what it says.

    Raises:
        UserError: experiment or source is unknown, or the parameters break a rule.
    """
    path = checkout / PARAMS_FILE
    if choice.experiment is None:
        text = path.read_text(encoding="utf-8")
    else:
        text = load_experiment(checkout, choice.experiment).text
    if choice.sources or choice.snapshot is not None:
        text = _changed(text, choice)
    return text, validate_params(YAML(typ="safe", pure=True).load(text), path)


def _changed(text: str, choice: Choice) -> str:
    document = open_text(text)
    known = list(document["sources"])
    for name in choice.sources:
        if name not in known:
            raise UserError(f"sources: {name!r} is not listed in {PARAMS_FILE}; known: {', '.join(known)}")
    for name in known:
        if choice.sources and name not in choice.sources:
            del document["sources"][name], document["ingest"][name]
    if choice.snapshot is not None:
        document["ingest"]["snapshot"] = choice.snapshot
    return text_of(document)


def _name(choice: Choice, params: Params) -> str:
    """Returns a name that is another one where there are other units: what is not listed must not lie about."""
    units = canonical_json([sorted(params.sources), list(params.cascade)])
    return f"{choice.experiment or 'params'}-{sha256_bytes(units.encode())[:6]}"


def _make(checkout: Path, folder: Path, inside: str) -> None:
    """Makes a worktree whose outs are the checkout's, as far as its dvc.lock and cache have them."""
    shutil.rmtree(folder, ignore_errors=True)
    git(checkout, "worktree", "prune")
    git(checkout, "worktree", "add", "--quiet", "--detach", str(folder), "HEAD")
    project = folder / inside
    try:
        share(checkout, project)
        if (checkout / LOCK_FILE).exists():
            shutil.copyfile(checkout / LOCK_FILE, project / LOCK_FILE)
            with Repo(str(project)) as repo:
                repo.checkout(force=True, allow_missing=True)
    except BaseException:
        shutil.rmtree(folder)
        raise
