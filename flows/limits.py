"""What all flows of a Prefect server share of a source: so many shards at once, and so many begun in a time.

Both are concurrency limits of Prefect's, which a user changes while flows run. How fast a host is asked is not theirs:
that is in the service files, and holds whoever asks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.concurrency.sync import concurrency, rate_limit
from prefect.exceptions import ObjectNotFound

LEASE_S = 60.0
"""How long a slot stays taken after its holder was killed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Names of those limits that there are."""

    at_once: str | None
    begun: str | None


def at_once_name(source: str) -> str:
    """Returns the name of the limit of shards of a source at once."""
    return f"source-{source.replace('_', '-')}"


def find_limits(source: str) -> Limits:
    """Returns which limits the server has for a source; ``source-NAME-rate`` is one with a slot decay."""
    at_once = at_once_name(source)
    begun = f"{at_once}-rate"
    with get_client(sync_client=True) as client:
        return Limits(at_once if _is_there(client, at_once) else None, begun if _is_there(client, begun) else None)


@contextmanager
def within(limits: Limits) -> Iterator[None]:
    """Waits for a turn and holds a slot while the block runs."""
    if limits.begun is not None:
        rate_limit(limits.begun)
    with concurrency([limits.at_once] if limits.at_once is not None else [], lease_duration=LEASE_S):
        yield


def _is_there(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        return False
    return True
