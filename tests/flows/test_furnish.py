from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.events.schemas.automations import EventTrigger

from flows.furnish import SHARDS_AT_ONCE, SOURCES, automations, count_accelerators, furnish
from flows.limits import at_once_name
from flows.local_server import WORK_POOL
from flows.plan import ACCELERATOR


@pytest.mark.long
@pytest.mark.usefixtures("prefect_server")
def test_furnishing_again_leaves_what_a_user_has_changed() -> None:
    with get_client(sync_client=True) as client:
        try:
            furnish(1)
            client.update_global_concurrency_limit(ACCELERATOR, GlobalConcurrencyLimitUpdate(limit=3))
            client.update_global_concurrency_limit(at_once_name("anime"), GlobalConcurrencyLimitUpdate(limit=1))
            furnish(1)
            assert client.read_global_concurrency_limit_by_name(ACCELERATOR).limit == 3
            assert client.read_global_concurrency_limit_by_name("source-anime").limit == 1
            assert client.read_global_concurrency_limit_by_name("source-conceptual-captions").limit == SHARDS_AT_ONCE
            for automation in automations():
                assert len(client.read_automations_by_name(automation.name)) == 1
            assert client.read_work_pool(WORK_POOL).type == "process"
        finally:
            for name in (ACCELERATOR, *map(at_once_name, SOURCES)):
                client.delete_global_concurrency_limit_by_name(name)


def test_a_run_counts_as_dead_after_some_missed_heartbeats() -> None:
    for automation in automations():
        trigger = automation.trigger
        assert isinstance(trigger, EventTrigger)
        assert trigger.within >= timedelta(seconds=90)  # three of the thirty seconds between heartbeats
        assert trigger.expect >= {f"prefect.flow-run.{end}" for end in ("Completed", "Failed", "Cancelled", "Crashed")}


@pytest.mark.parametrize(
    ("chosen", "num"), [("0", 1), ("2,3", 2), ("GPU-a,GPU-b,GPU-c", 3), ("", 1), ("-1", 1), (None, 4)]
)
def test_accelerators_are_those_that_may_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, num: int
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidia-uvm", "nvidiactl"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert count_accelerators(tmp_path) == num
