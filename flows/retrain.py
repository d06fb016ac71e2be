"""Flow retrain: a new snapshot of the sources, and if it brings new rows a new cascade, which has to pass the gate.

Works in a Git worktree of its own. What it decides is recorded: in the registry, in a commit with dvc.lock and
params.yaml, and in DVC's remote. Has no list of stages: dvc.yaml draws the graph.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dvc.repo import Repo
from prefect import flow, get_run_logger, task

from flows.gate import promote_cascade
from flows.plan import Step, address_of, plan
from flows.push import push_results
from flows.record import bring_back, record
from flows.walk import walk
from flows.workplace import Choice, chosen_params
from flows.worktree import worktree
from minimagen.evaluation.gate import Rule
from minimagen.stages.promote import CURATED, Verdict, find_settled, settle

NAME = "retrain"


@dataclass(frozen=True, slots=True)
class Retrained:
    """What one run of the flow came to."""

    outcome: Literal["no new data", "promoted", "rejected"]
    version: int
    """The registered cascade: the new one, or the one that was trained on these rows before."""
    reasons: tuple[str, ...]
    tag: str | None
    """The Git tag of the commit that records it; None where nothing was trained."""


@flow(name=NAME, log_prints=True)
def retrain(
    experiment: str | None = None, snapshot: str | None = None, min_gain: float | None = None, push: bool = True
) -> Retrained:
    """Takes a new snapshot of the sources and replaces the champion, if that makes a better one.

    Args:
        experiment: a name in experiments/; None is the checkout's params.yaml.
        snapshot: the label of the new snapshot; None is today's date (UTC).
        min_gain: what the lower bound of the gain has to exceed, dB; None is the gate's own.
        push: send data and models to DVC's remote.

    Raises:
        UserError: a parameter names what there is not, or the checkout is in no Git repository.
        AlreadyRunningError: another retrain is at work.
        StageFailed: a stage failed; nothing is registered.
    """
    checkout, label = Path().resolve(), snapshot or datetime.now(UTC).date().isoformat()
    text, _ = chosen_params(checkout, Choice(experiment, (), label))
    with worktree(checkout, NAME, text) as project:
        bring_back(checkout, project)
        walk(steps_to_rows(project), project)
        known = compare_rows(project)
        if known is not None:
            return say(Retrained("no new data", known, (f"version {known} was trained on these very rows",), None))
        walk(plan(project), project)
        verdict = promote_cascade(project, Rule() if min_gain is None else Rule(min_gain=min_gain), needs_record=True)
        tag = keep(checkout, project, verdict)
        if push:
            push_results(project)
        settle(project, verdict.version, tag)
    return say(Retrained(verdict.word, verdict.version, verdict.decision.reasons, tag))


def steps_to_rows(project: Path) -> list[Step]:
    """Returns the part of the plan that makes the curated rows: the stage that writes them, and all that it reads."""
    with Repo(str(project.resolve())) as repo:
        (out,) = repo.find_outs_by_path(str((project / CURATED).resolve()))
        wanted = {address_of(out.stage)}
    steps = plan(project)
    for step in reversed(steps):
        if step.stage in wanted:
            wanted |= step.after
    return [step for step in steps if step.stage in wanted]


@task(name="compare rows")
def compare_rows(project: Path) -> int | None:
    """Returns the version that was trained on the same rows with the same parameters, the newest of several."""
    known = find_settled(project)
    return None if known is None else known.number


@task(name="record")
def keep(checkout: Path, project: Path, verdict: Verdict) -> str:
    """Commits what a verdict was about and returns the tag of the commit."""
    return record(checkout, project, verdict)


def say(result: Retrained) -> Retrained:
    """Tells the run's log what it came to, and returns it."""
    get_run_logger().info("%s: %s", result.outcome, "; ".join(result.reasons))
    return result


if __name__ == "__main__":
    retrain()
