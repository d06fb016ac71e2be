"""What a Prefect server needs before it runs our flows: a work pool, limits, an eye on dead runs.

Run by `flows.orchestrate` as `python -m flows.furnish` once the server answers; doing it again changes nothing.
"""

import os
from collections.abc import Set as AbstractSet
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
from flows.local_server import WORK_POOL
from flows.plan import ACCELERATOR

SOURCES = ("tmdb", "anime", "conceptual_captions", "manifest")
"""Those of the network, whose shards all flows of the server count together."""
SHARDS_AT_ONCE = 8
DEAD_RUNS = "runs whose process has died"
UNHEARD_CANCELLATIONS = "cancelled runs whose process has died"
SILENCE = timedelta(seconds=90)
"""Three heartbeats; a run that is silent for so long is dead, and its slot is free for the next."""
_ENDS = frozenset(f"prefect.flow-run.{end}" for end in ("Completed", "Failed", "Cancelled", "Crashed"))


def furnish(num_accelerators: int) -> None:
    """Creates what is not there; what is, a user may have changed: it stays."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        _limit(client, ACCELERATOR, num_accelerators)
        for source in SOURCES:
            _limit(client, at_once_name(source), SHARDS_AT_ONCE)
        for automation in automations():
            if not client.read_automations_by_name(automation.name):
                client.create_automation(automation)


def count_accelerators(devices: Path = Path("/dev")) -> int:
    """Returns the number of NVIDIA cards that may be used; 1 where there is none, for the processor."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return max(1, len(list(devices.glob("nvidia[0-9]*"))))
    return max(1, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def _limit(client: SyncPrefectClient, name: str, number: int) -> None:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=number))


def automations() -> tuple[AutomationCore, AutomationCore]:
    """Returns the rules by which a run that is no longer heard of counts as crashed, or cancelled if it should be.

    There have to be two: from Cancelling a run can come to no other end than Cancelled.
    """
    heartbeat = "prefect.flow-run.heartbeat"
    died = _automation(DEAD_RUNS, heartbeat, {heartbeat, *_ENDS}, "Crashed", StateType.CRASHED)
    unheard = _automation(UNHEARD_CANCELLATIONS, "prefect.flow-run.Cancelling", _ENDS, "Cancelled", StateType.CANCELLED)
    return died, unheard


def _automation(name: str, after: str, expect: AbstractSet[str], end: str, end_type: StateType) -> AutomationCore:
    message = "Its process gave no sign of life."
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            after={after},
            expect=set(expect),
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(name=end, state=end_type, message=message, force=False)],
    )


if __name__ == "__main__":
    furnish(count_accelerators())
