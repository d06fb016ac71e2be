"""However a tracker fails, no step waits for it, and afterwards it holds every point once."""

import functools
import os

import pytest

from minimagen.tracking.shipper import start_shipper
from tests.durability.tables import table_of
from tests.torture import TellTable, num_times
from tests.tracking.conftest import Stages
from tests.tracking.trouble import CURVE, NUM_POINTS, TROUBLES, run_in_trouble

NUM_TROUBLES = min(num_times(1, len(TROUBLES)), len(TROUBLES))
A_REQUEST_S = 4.0
"""What one request to a dead tracker costs where it is made by the training itself, and more (245 s with defaults)."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trouble", TROUBLES[::-1][:NUM_TROUBLES], ids=lambda trouble: trouble.name)
def test_every_point_arrives_once_and_no_step_waits(
    trouble, stages: Stages, monkeypatch: pytest.MonkeyPatch, impatient: None, tell_table: TellTable
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", os.environ.get("MLFLOW_TRACKING_URI", ""))
    monkeypatch.setattr("minimagen.tracking.stage.FINISH_TIMEOUT_S", 2.0)
    monkeypatch.setattr("minimagen.tracking.stage.start_shipper", functools.partial(start_shipper, interval_s=0.05))

    arrived = run_in_trouble(trouble, stages)

    row = {"tracker": trouble.name, "longest wait of a step, ms": f"{1000 * arrived.longest_s:.1f}"}
    row |= {"there when the run ended": arrived.at_end, "there in the end": len(arrived.points), "of": NUM_POINTS}
    tell_table("10,000 points", table_of([row | {"runs": arrived.num_runs}]))
    assert arrived.problem is None and not arrived.is_shipper_left
    assert arrived.points == CURVE
    assert arrived.num_runs == 2
    assert arrived.longest_s < A_REQUEST_S
