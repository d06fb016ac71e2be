"""Flow compare-experiments: every combination of a grid run, and how they compare as a table and a figure.

`minimagen compare` does the same work without Prefect.
"""

import base64
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from pydantic import JsonValue

from flows.arms import compare
from flows.comparison_page import FIGURE_FILE, PAGE_FILE
from flows.plan import plan
from flows.walk import walk

NAME = "compare-experiments"


@flow(name=NAME, log_prints=True)
def compare_experiments(grid: dict[str, list[JsonValue]], experiment: str | None = None) -> str:
    """Runs every combination of a grid in a worktree, as a DVC experiment and a run in MLflow each.

    Args:
        grid: key -> values, as in {"dim": [16, 32], "dim_mults": [[1, 2], [1, 2, 4]], "num_epochs": [10, 20]}.
        experiment: what all have in common, a name in experiments/; None is params.yaml.

    Returns:
        The folder with table.csv, table.md and figure.svg.

    Raises:
        UserError: the grid names what there is not, or a combination breaks a rule.
        StageFailed: a stage failed; the arms before it are kept.
    """
    say = get_run_logger().info
    folder = compare(Path().resolve(), grid, experiment, lambda project: walk(plan(project), project), say)
    create_markdown_artifact((folder / PAGE_FILE).read_text(), key=NAME, description="The experiments side by side")
    if (folder / FIGURE_FILE).exists():
        picture = base64.b64encode((folder / FIGURE_FILE).read_bytes()).decode()
        create_image_artifact(f"data:image/svg+xml;base64,{picture}", key=f"{NAME}-figure", description="Losses")
    return str(folder)
