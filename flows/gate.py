"""The gate as a task: what it decides of a project's cascade, in the log and as a page."""

from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from minimagen.evaluation.gate import Rule
from minimagen.stages.promote import Verdict, judge


@task(name="gate")
def promote_cascade(project: Path, rule: Rule | None = None, *, needs_record: bool = False) -> Verdict:
    """Lets the gate compare a project's cascade with the champion, and promotes it if it is better."""
    verdict = judge(project, rule, needs_record=needs_record)
    get_run_logger().info("version %s is %s: %s", verdict.version, verdict.word, "; ".join(verdict.decision.reasons))
    create_markdown_artifact(page(verdict), key="gate", description="What the gate decided, and why")
    return verdict


def page(verdict: Verdict) -> str:
    """Returns a verdict as a page."""
    decision = verdict.decision
    before = "none" if verdict.compared_with is None else f"version {verdict.compared_with}"
    lines = [f"# Version {verdict.version} is {verdict.word}", "", f"The champion was {before}.", ""]
    lines += [f"- {reason}" for reason in decision.reasons]
    if decision.guards:
        lines += ["", "| guarded | champion | candidate | limit | held |", "|---|---|---|---|---|"]
        lines += [_row(one.name, one.champion, one.candidate, one.limit, one.is_held) for one in decision.guards]
    return "\n".join(lines) + "\n"


def _row(name: str, *cells: float | bool | None) -> str:
    shown: Sequence[str] = [
        "" if cell is None else str(cell) if isinstance(cell, bool) else f"{cell:.4g}" for cell in cells
    ]
    return f"| {name} | {' | '.join(shown)} |"
