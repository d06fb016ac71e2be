"""What a Prefect server needs before it runs our flows: a work pool, limits, an eye on dead runs.

Run by `flows.orchestrate` as `python -m flows.furnish` once the server answers; doing it again changes nothing.
"""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.limits import at_once_name
from flows.plan import ACCELERATOR

WORK_POOL = "local"
SOURCES = ("tmdb", "anime", "conceptual_captions", "manifest")
"""Those of the network, whose shards all flows of the server count together."""
SHARDS_AT_ONCE = 8
DEAD_RUNS = "runs whose process has died"
SILENCE = timedelta(seconds=90)
"""Three heartbeats; a run that is silent for so long is dead, and its slot is free for the next."""
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")


def furnish(num_accelerators: int) -> None:
    """Creates what is not there; what is, a user may have changed: it stays."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        _limit(client, ACCELERATOR, num_accelerators)
        for source in SOURCES:
            _limit(client, at_once_name(source), SHARDS_AT_ONCE)
        _watch_for_dead_runs(client)


def count_accelerators() -> int:
    """Returns the number of NVIDIA cards that may be used; 1 where there is none, for the processor."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = chosen.split(",") if chosen else list(Path("/dev").glob("nvidia[0-9]*"))
    return max(1, len(cards))


def _limit(client: SyncPrefectClient, name: str, number: int) -> None:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=number))


def _watch_for_dead_runs(client: SyncPrefectClient) -> None:
    if not client.read_automations_by_name(DEAD_RUNS):
        client.create_automation(dead_runs_automation())


def dead_runs_automation() -> AutomationCore:
    """Returns the rule by which a run that is no longer heard of counts as crashed."""
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=DEAD_RUNS,
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed", state=StateType.CRASHED, message="Its process gave no sign of life.", force=False
            )
        ],
    )


if __name__ == "__main__":
    furnish(count_accelerators())
