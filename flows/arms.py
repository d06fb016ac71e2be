"""Runs the arms of a comparison one after another in one worktree, so that what they share is made once.

Each arm is a DVC experiment afterwards. `dvc exp run` itself would copy the project without what Git does not keep (a
user's pictures, the data that a source has already given) and could not be stopped and resumed by stage. Knows no
Prefect: who runs the stages is an argument.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.comparison import Row
from flows.comparison_page import write_comparison
from flows.grid import Arm, Grid, arms_of
from flows.plan import Walk, plan
from flows.record import bring_back
from flows.reproduce import reproduce
from flows.workplace import Choice, chosen_params
from flows.worktree import search_path, worktree
from minimagen.evaluation.curves import Line, read_lines
from minimagen.evaluation.pairs import read_pairs
from minimagen.evaluation.results import leaves
from minimagen.experiments import PARAMS_FILE
from minimagen.files import canonical_json, sha256_bytes, write_atomic
from minimagen.tracking.flat import cascade_hash, comparison_columns, experiment_name
from minimagen.tracking.location import has_mlflow, is_tracking_on

NAME = "compare"
METRICS_FILE, PAIRS_FILE = Path("data/eval/metrics.json"), Path("data/eval/pairs.safetensors")
CHECKPOINTS, CURVES_FILE = Path("data/checkpoints"), "curves.csv"
HELD_OUT_LOSS = "validation_loss"
Say = Callable[[str], None]


def compare(checkout: Path, grid: Grid, experiment: str | None, run_stages: Callable[[Path], object], say: Say) -> Path:
    """Runs every combination of a grid and returns the folder with table and figure.

    Args:
        experiment: what all have in common; None is the checkout's params.yaml.
        run_stages: brings every stage of a project up to date.

    Raises:
        UserError: the grid names what there is not, or a combination breaks a rule.
        AlreadyRunningError: another comparison is at work.
    """
    text, _ = chosen_params(checkout, Choice(experiment))
    arms = arms_of(text, PARAMS_FILE, grid)
    rows = list(run_arms(checkout, arms, run_stages, say))
    identity = sha256_bytes(canonical_json([arm.text for arm in arms]).encode())[:12]
    folder = checkout / "runs" / NAME / identity
    files = write_comparison(folder, rows)
    if is_tracking_on() and has_mlflow():
        from minimagen.tracking.comparison import keep_comparison

        keep_comparison(checkout, experiment_name(arms[0].params), identity, files)
    return folder


def run_arms(checkout: Path, arms: list[Arm], run_stages: Callable[[Path], object], say: Say) -> Iterator[Row]:
    """Yields what was measured of each arm; one that was run before comes from DVC's run cache."""
    with worktree(checkout, NAME, arms[0].text) as project:
        bring_back(checkout, project)
        for number, arm in enumerate(arms, start=1):
            say(f"{number}/{len(arms)} {arm.name}")
            write_atomic(project / PARAMS_FILE, arm.text.encode())
            run_stages(project)
            save_experiment(project, arm.name)
            yield _row(project, arm)


def run_plainly(project: Path, say: Say) -> None:
    """Brings every stage of a project up to date, without Prefect.

    Raises:
        StageFailed: a stage failed; those after it were not started.
    """
    way = Walk(plan(project))
    while (step := way.take()) is not None:
        if way.has_to_run(step):
            way.done(step.stage, reproduce(step.stage, say, root=project, environment=search_path(project)))
        else:
            way.done(step.stage, "UpToDate")


def save_experiment(project: Path, name: str) -> None:
    """Keeps a project's parameters and dvc.lock as a DVC experiment on top of its commit; a newer one replaces it.

    Raises:
        subprocess.CalledProcessError: DVC refused.
    """
    command = [sys.executable, "-m", "dvc", "exp", "save", "--quiet", "--force", "--name", name]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def _row(project: Path, arm: Arm) -> Row:
    found = dict(leaves(json.loads((project / METRICS_FILE).read_bytes())))
    wanted = [column.removeprefix("metrics.") for column in comparison_columns(arm.params)]
    metrics = {name: float(str(found[name])) for name in wanted if name in found}
    pairs = read_pairs(project / PAIRS_FILE) if (project / PAIRS_FILE).exists() else None
    return Row(arm.name, arm.values, metrics, cascade_hash(arm.params), pairs, _curves(project, arm))


def _curves(project: Path, arm: Arm) -> dict[str, Line]:
    """Returns each U-Net's held-out loss while it was trained, of those that keep their curves."""
    files = {name: project / CHECKPOINTS / name / CURVES_FILE for name in arm.params.cascade}
    read = {name: read_lines(path, {HELD_OUT_LOSS: name})[0] for name, path in files.items() if path.exists()}
    return {name: line for name, line in read.items() if line.steps}
