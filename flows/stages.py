"""One stage of dvc.yaml as a Prefect task: its words in the run's log, its progress as an artifact, its state a name.

Knows no order and no stage's name.
"""

import contextvars
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.api_watch import at_work
from flows.plan import ACCELERATOR
from flows.progress import StageProgress
from flows.reproduce import StageFailed, reproduce
from flows.worktree import search_path

FLOW_RUN = "MINIMAGEN_FLOW_RUN_ID"
"""The variable that tells a stage which run of a flow it is part of; its MLflow run is tagged with it."""
LEASE_S = 60.0
"""How long a slot of the accelerator stays taken after its holder was killed."""
PROGRESS_EVERY_S = 5.0


def is_worth_a_retry(_task: object, _run: object, state: State[object]) -> bool:
    """Whether running the stage once more can help: it was killed or somebody else was at it; nobody said stop."""
    return isinstance(state.data, StageFailed) and (state.data.was_killed or state.data.was_busy)


@task(
    task_run_name="{stage}",
    retries=3,
    retry_delay_seconds=[10, 60, 300],
    retry_jitter_factor=0.3,
    retry_condition_fn=is_worth_a_retry,
)
def run_stage(
    stage: str,
    root: Path = Path(),
    *,
    is_forced: bool = False,
    needs_accelerator: bool = False,
    device: str | None = None,
) -> State[None]:
    """Lets DVC reproduce one stage of a project; its inputs have to be up to date.

    Args:
        needs_accelerator: wait for a slot of Prefect's concurrency limit of that name, where there is one.
        device: which GPUs the stage may see, as CUDA_VISIBLE_DEVICES counts; None leaves it as it is.

    Raises:
        StageFailed: DVC or the stage's command failed.
    """
    say = get_run_logger().info
    progress = StageProgress(stage, root, time.time())

    def hear(line: str) -> None:
        progress.hear(line)
        say(line)

    with _slot(needs_accelerator), _shown(stage, progress), at_work():
        outcome = reproduce(stage, hear, root=root, environment=_environment(root, device), is_forced=is_forced)
    return Completed(name=outcome, message=f"{stage}: {outcome}")


@task(task_run_name="{stage}")
def pass_by(stage: str) -> State[None]:
    """Shows a stage whose inputs and outs are as they were; starts nothing."""
    return Completed(name="UpToDate", message=f"{stage}: UpToDate")


def _slot(needs_accelerator: bool) -> AbstractContextManager[None]:
    return concurrency(ACCELERATOR, lease_duration=LEASE_S) if needs_accelerator else nullcontext()


def _environment(root: Path, device: str | None) -> Mapping[str, str]:
    environment = {FLOW_RUN: str(flow_run.id or "")}
    if root.resolve() != Path().resolve():
        environment |= search_path(root)
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


@contextmanager
def _shown(stage: str, progress: StageProgress) -> Iterator[None]:
    """Keeps a progress artifact while the block runs, from a thread of its own; it waits for the last look only."""
    is_over = threading.Event()
    context = contextvars.copy_context()
    follower = threading.Thread(target=context.run, args=(_follow, stage, progress, is_over), daemon=True)
    follower.start()
    try:
        yield
        is_over.set()
        follower.join(timeout=PROGRESS_EVERY_S)
    finally:
        is_over.set()


def _follow(stage: str, progress: StageProgress, is_over: threading.Event) -> None:
    artifact: UUID | None = None
    is_last = False
    while not is_last:
        is_last = is_over.wait(PROGRESS_EVERY_S)
        try:
            reading = progress.read()
            if reading is None:
                continue
            description = f"{stage}: {reading.num_done} of {reading.num_total}. {reading.note}"
            if artifact is None:
                artifact = cast(UUID, create_progress_artifact(reading.percent, description=description))
            else:
                update_progress_artifact(artifact, reading.percent, description=description)
        except (httpx.HTTPError, FileNotFoundError) as error:
            get_run_logger().debug("progress is not shown: %s", error)
