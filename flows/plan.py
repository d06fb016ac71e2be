"""What has to be done, in which order: DVC's graph and status as a list of steps, and which of them may start next.

Has no list of stages: dvc.yaml draws the graph. Starts nothing and knows no Prefect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import networkx
from dvc.repo import Repo
from dvc.stage import Stage

from minimagen.stages.repair import heal

Outcome = Literal["Ran", "RunCache", "UpToDate"]
"""The stage's command ran; its outs came from DVC's run cache; nothing had changed."""

ACCELERATOR = "accelerator"
"""Key below `meta` of a stage in dvc.yaml: true where it keeps the accelerator of the machine busy."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the plan."""

    stage: str
    after: frozenset[str]
    """Stages whose outs it reads."""
    is_stale: bool
    """DVC sees a change already, before any other stage has run."""
    needs_accelerator: bool = False


def plan(root: Path = Path()) -> list[Step]:
    """Returns every stage of a project, each after those whose outs it reads, siblings in the order of dvc.yaml.

    What a power cut left torn of DVC's own files is healed first.
    """
    heal(root)
    with Repo(str(root.resolve())) as repo:
        graph, stale = repo.index.graph, repo.status()
        order = {stage: number for number, stage in enumerate(repo.index.stages)}
        sorted_stages = networkx.lexicographical_topological_sort(graph.reverse(copy=False), key=order.__getitem__)
        return [
            Step(
                address_of(stage),
                frozenset(address_of(before) for before in graph.successors(stage) if before.cmd),
                is_stale=stage.addressing in stale,
                needs_accelerator=bool((stage.meta or {}).get(ACCELERATOR)),
            )
            for stage in sorted_stages
            if stage.cmd
        ]


def address_of(stage: Stage) -> str:
    """Returns what `dvc repro` in the project's root calls a stage; DVC's own answer depends on the working folder."""
    name = stage.addressing.rpartition(":")[2]
    return name if stage.path_in_repo == "dvc.yaml" else f"{stage.path_in_repo}:{name}"


class Walk:
    """Which steps of a plan are done, which may start now, and which of these have to run."""

    def __init__(self, steps: Sequence[Step], *, is_forced: bool = False) -> None:
        """``is_forced``: every stage runs, whether anything changed or not."""
        self._waiting = list(steps)
        self._is_forced = is_forced
        self.outcomes: dict[str, Outcome] = {}
        """What became of each stage that is done."""

    @property
    def is_over(self) -> bool:
        """Whether no step waits to be started."""
        return not self._waiting

    def take(self) -> Step | None:
        """Returns the first step whose inputs are ready and counts it as started; None where all others wait."""
        step = next((step for step in self._waiting if step.after <= self.outcomes.keys()), None)
        if step is not None:
            self._waiting.remove(step)
        return step

    def has_to_run(self, step: Step) -> bool:
        """Returns whether DVC is to be asked: it is stale, forced, or one of its inputs was made anew."""
        has_new_inputs = any(self.outcomes.get(before, "UpToDate") != "UpToDate" for before in step.after)
        return self._is_forced or step.is_stale or has_new_inputs

    def done(self, stage: str, outcome: Outcome) -> None:
        """Records what became of a step that was taken."""
        self.outcomes[stage] = outcome
