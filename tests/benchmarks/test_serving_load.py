"""Many clients at once, beside slow connections: every request is answered or refused with a reason, memory stays.

In `make torture-ci`: 100 requests from 8 clients, beside 100 slow connections, and the table is printed.
"""

import pytest

from benchmarks.serving_load import Load, measure, measure_page
from benchmarks.tables import Report, show
from tests.serving.studio_project import write_studio_project
from tests.small_cascade import write_small_cascade
from tests.torture import TORTURE

pytestmark = pytest.mark.skipif(TORTURE == 0, reason="run by make torture-ci")

NUM_REQUESTS, NUM_CLIENTS, NUM_SLOW = 100 * TORTURE, 8, 100
MAX_GROWTH_BYTES = 16 * 2**20
"""Less than a picture of a tenth of a megabyte kept for each request would take."""

NOISE_S = 0.25
"""What another process on the same cores may cost a request."""


@pytest.fixture(scope="module", params=["served model", "page"])
def loads(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Load]:
    root = tmp_path_factory.mktemp("load")
    if request.param == "page":
        return measure_page(write_studio_project(root, is_registered=False), NUM_REQUESTS, NUM_CLIENTS, NUM_SLOW)
    return measure(write_small_cascade(root / "cascade"), root, NUM_REQUESTS, NUM_CLIENTS, NUM_SLOW)


def test_every_request_is_answered_or_refused_with_a_reason(
    loads: dict[str, Load], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        show(Report(f"{NUM_CLIENTS} clients at once", [load.row(name) for name, load in loads.items()]))

    for load in loads.values():
        assert load.statuses.total() == NUM_REQUESTS
        assert set(load.statuses) <= {200, 503}
        assert load.num_without_reason == 0
    alone, slow, _ = loads.values()
    assert alone.statuses[200] == slow.statuses[200] == NUM_REQUESTS  # eight fit into the line


def test_more_clients_than_the_line_holds_are_refused_not_queued(loads: dict[str, Load]) -> None:
    *_, crowd = loads.values()

    if NUM_REQUESTS >= 64:
        assert crowd.statuses[503] > 0
    assert crowd.statuses[200] >= min(33, NUM_REQUESTS)


def test_memory_does_not_grow(loads: dict[str, Load]) -> None:
    first, *_, last = loads.values()

    assert last.rss_after_bytes - first.rss_before_bytes < MAX_GROWTH_BYTES


def test_slow_connections_cost_others_nothing(loads: dict[str, Load]) -> None:
    alone, slow, _ = (sorted(load.latencies_s) for load in loads.values())

    limit_s = 2 * alone[int(0.99 * (len(alone) - 1))] + NOISE_S
    assert slow[int(0.99 * (len(slow) - 1))] <= limit_s
