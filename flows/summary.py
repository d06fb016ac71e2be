"""The end of a run of train-cascade as a page: stages, metrics, a sheet of pictures, and the way to MLflow and back."""

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc.repo import Repo
from PIL import Image
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.plan import Outcome
from flows.tracked_runs import TrackedCascade, tracked_cascade

KEY = "train-cascade"
MLFLOW_TAG = "mlflow:"
"""Leads the tag of a flow run that names the MLflow run of its cascade."""
MAX_SHEET_PX = 1400
JPEG_QUALITY = 80


@task(task_run_name="summary")
def show_summary(root: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Writes the page, and tags the flow run with the MLflow run of its cascade."""
    cascade = tracked_cascade(root)
    create_markdown_artifact(markdown(root, outcomes, cascade), key=KEY, description="What this run has made")
    if cascade is not None and cascade.run is not None and flow_run.id:
        tags = {*flow_run.tags, f"{MLFLOW_TAG}{cascade.run.run_id}"}
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, tags=sorted(tags))
        get_run_logger().info("MLflow run of the cascade: %s", cascade.run.url)


def markdown(root: Path, outcomes: Mapping[str, Outcome], cascade: TrackedCascade | None) -> str:
    """Returns the page."""
    num_started = sum(outcome == "Ran" for outcome in outcomes.values())
    lines = [f"# {num_started} of {len(outcomes)} stages ran", "", "| stage | outcome |", "|---|---|"]
    lines += [f"| {stage} | {outcome} |" for stage, outcome in outcomes.items()]
    if cascade is not None:
        lines += _tracked(cascade)
    metrics = list(_leaves(metrics_of(root)))
    if metrics:
        lines += ["", "## Metrics", "", "| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in metrics]
    return "\n".join(lines) + "\n"


def metrics_of(root: Path) -> Mapping[str, object]:
    """Returns what DVC knows as metrics of a project, by file where there are several."""
    with Repo(str(root.resolve())) as repo:
        shown = repo.metrics.show()
    files = {name: file["data"] for name, file in shown.get("", {}).get("data", {}).items() if "data" in file}
    return next(iter(files.values())) if len(files) == 1 else files


def data_uri(picture: Path) -> str:
    """Returns a picture small enough for a page, written out in its own address."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
        small.thumbnail((MAX_SHEET_PX, MAX_SHEET_PX))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _tracked(cascade: TrackedCascade) -> Iterator[str]:
    if cascade.picture is not None:
        yield from ("", "## Pictures", "", f"![{cascade.picture.name}]({data_uri(cascade.picture)})")
    runs = [run for run in (cascade.run, *cascade.stages) if run is not None]
    if runs:
        yield from ("", "## In MLflow (`make ui`)", "")
        yield from (f"- [{run.title}]({run.url})" for run in runs)


def _leaves(metrics: Mapping[str, object], above: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        elif isinstance(value, int | float):
            yield f"{above}{name}", value
