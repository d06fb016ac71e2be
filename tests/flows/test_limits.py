"""What all flows of a server share of a source, on a real server."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

from flows.limits import Limits, at_once_name, find_limits, within

pytestmark = pytest.mark.usefixtures("prefect_server")


@contextmanager
def limit(name: str, number: int, decay_per_s: float = 0.0) -> Iterator[None]:
    """Gives the server a limit."""
    with get_client(sync_client=True) as client:
        create = GlobalConcurrencyLimitCreate(name=name, limit=number, slot_decay_per_second=decay_per_s)
        client.create_global_concurrency_limit(create)
        try:
            yield
            assert decay_per_s or client.read_global_concurrency_limit_by_name(name).active_slots == 0
        finally:
            client.delete_global_concurrency_limit_by_name(name)


def most_at_once(limits: Limits, num_threads: int) -> int:
    """Lets threads work within limits until two of them meet, or shortly, and returns how many did."""
    lock, have_met, running, most = threading.Lock(), threading.Event(), [0], [0]

    def work() -> None:
        with within(limits):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
                if running[0] > 1:
                    have_met.set()
            have_met.wait(timeout=0.5)
            with lock:
                running[0] -= 1

    with ThreadPoolExecutor(num_threads) as threads:
        for future in [threads.submit(work) for _ in range(num_threads)]:
            future.result()
    return most[0]


def test_a_server_without_limits_limits_nothing() -> None:
    assert find_limits("conceptual_captions") == Limits(None, None)
    assert most_at_once(find_limits("conceptual_captions"), 2) == 2


def test_one_slot_lets_one_shard_be_made_at_a_time() -> None:
    with limit(at_once_name("conceptual_captions"), 1):
        limits = find_limits("conceptual_captions")
        assert limits == Limits("source-conceptual-captions", None)
        assert most_at_once(limits, 2) == 1


def test_a_rate_keeps_the_next_one_waiting() -> None:
    with limit("source-anime-rate", 1, decay_per_s=0.5):
        limits = find_limits("anime")
        assert limits == Limits(None, "source-anime-rate")
        started = time.monotonic()
        for _ in range(2):
            with within(limits):
                pass
        assert time.monotonic() - started >= 1.0
