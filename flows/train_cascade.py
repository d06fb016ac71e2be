"""Flow train-cascade: walks the graph that dvc.yaml draws and brings every stage up to date.

Plans in this process with DVC's own graph and status, runs each stage in one of its own. Has no list of stages.
"""

from dataclasses import dataclass

import networkx
from dvc.repo import Repo
from prefect import flow

from flows.stages import pass_by, run_stage


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the plan."""

    stage: str
    after: frozenset[str]
    """Stages whose outs it reads."""
    is_stale: bool
    """DVC sees a change already, before any other stage has run."""


def plan() -> list[Step]:
    """Returns every stage of the project in the working directory, each after those whose outs it reads."""
    with Repo() as repo:
        graph, stale = repo.index.graph, repo.status()
        stages = [stage for stage in networkx.dfs_postorder_nodes(graph) if stage.cmd]
        return [
            Step(
                stage.addressing,
                frozenset(before.addressing for before in graph.successors(stage)),
                is_stale=stage.addressing in stale,
            )
            for stage in stages
        ]


@flow(name="train-cascade", log_prints=True)
def train_cascade() -> dict[str, str]:
    """Brings every stage up to date, in an order in which each finds its inputs.

    Returns:
        What became of each stage: Ran, RunCache or UpToDate.

    Raises:
        StageFailed: a stage failed; those that depend on it, and those after it in the plan, were not started.
    """
    outcomes: dict[str, str] = {}
    for step in plan():
        has_new_inputs = any(outcomes.get(before, "UpToDate") != "UpToDate" for before in step.after)
        act = run_stage if step.is_stale or has_new_inputs else pass_by
        state = act(step.stage, return_state=True)
        state.result()
        assert state.name is not None
        outcomes[step.stage] = state.name
    return outcomes


if __name__ == "__main__":
    train_cascade()
