"""Flow train-cascade: walks the graph that dvc.yaml draws and brings every stage up to date.

Parameters choose what is run, never how: that is params.yaml's. Has no list of stages and does no work of its own.
"""

from pathlib import Path

from prefect import flow

from flows.plan import Outcome, plan
from flows.push import push_results
from flows.summary import show_summary
from flows.walk import walk
from flows.workplace import Choice, workplace


@flow(name="train-cascade", log_prints=True)
def train_cascade(
    experiment: str | None = None,
    sources: list[str] | None = None,
    snapshot: str | None = None,
    force: bool = False,
    promote: bool = False,
    push: bool = False,
) -> dict[str, Outcome]:
    """Brings every stage up to date, in an order in which each finds its inputs.

    Args:
        experiment: a name in experiments/; it runs in a git worktree of its own, and params.yaml stays as it is.
        sources: only these of its sources, in a worktree too.
        snapshot: the label of a new snapshot of the sources, in a worktree too.
        force: every stage runs, changed or not.
        promote: let the gate compare the result with the champion.
        push: send data and models to DVC's remote.

    Returns:
        What became of each stage: Ran, RunCache or UpToDate.

    Raises:
        UserError: a parameter names what there is not.
        StageFailed: a stage failed; those that depend on it were not started.
    """
    root = workplace(Path().resolve(), Choice(experiment, tuple(sources or ()), snapshot))
    outcomes = walk(plan(root), root, is_forced=force)
    show_summary(root, outcomes)
    if promote:
        from flows.gate import promote_cascade  # brings torch, which takes seconds

        promote_cascade(root)
    if push:
        push_results(root)
    return outcomes


if __name__ == "__main__":
    train_cascade()
