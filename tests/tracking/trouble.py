"""A run of 10,000 points whose tracker fails in one of several ways, and what the tracker holds in the end.

Imports no pytest.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from minimagen.tracking.ship import ship_pending
from tests.simulators.tracker import Fault, TrackerSimulator
from tests.tracking.conftest import Stages

NUM_POINTS = 10_000
CURVE = [(step, 1.0 / (1 + step)) for step in range(NUM_POINTS)]
_NUM_BEFORE = NUM_POINTS // 4


@dataclass(frozen=True, slots=True)
class Trouble:
    """One way to fail: what a tracker that answers does wrong, and when there is one at all."""

    name: str
    fault: Callable[[str, int], Fault | None] = lambda path, nth: None
    is_there_at_start: bool = True
    is_killed: bool = False
    """After it has taken the first points; it is started again after the run."""


def _flapping(path: str, nth: int) -> Fault | None:
    return "refuse" if nth % 3 == 1 else "lose answer" if nth % 3 == 2 and path != "runs/create" else None


TROUBLES = (
    Trouble("absent at the start", is_there_at_start=False),
    Trouble("killed in the run", is_killed=True),
    Trouble("flapping", _flapping),
    Trouble("slow", lambda path, nth: "slow"),
    Trouble("takes requests and hangs", lambda path, nth: "hang"),
    Trouble("500 to everything", lambda path, nth: "refuse"),
)
"""Each of them is well again after the run, which is when the rest arrives."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of a run."""

    trouble: str
    longest_s: float
    """The longest that one point held up the training."""
    at_end: int
    """Points that the tracker had when the run ended."""
    points: list[tuple[int, float]]
    """What it holds after it is well, sorted; a point sent twice is held once."""
    num_runs: int
    problem: str | None
    is_shipper_left: bool


def run_in_trouble(trouble: Trouble, stages: Stages) -> Arrived:
    """Trains for 10,000 points; MLFLOW_TRACKING_URI is the caller's to set back."""
    with ExitStack() as first:
        server = TrackerSimulator(trouble.fault)
        os.environ["MLFLOW_TRACKING_URI"] = server.url
        if trouble.is_there_at_start:
            first.enter_context(server)
        else:
            with server:
                pass  # its address answers no more
        points, longest_s = iter(CURVE), 0.0
        with stages.train(is_live=True) as stage:
            for step, loss in points:
                started = time.perf_counter()
                stage.metrics(step, {"loss": loss})
                longest_s = max(longest_s, time.perf_counter() - started)
                if step == _NUM_BEFORE:
                    _wait_for_trouble(trouble, server, stage.run_folder / "shipper.log")
                    if trouble.is_killed:
                        first.close()
        at_end, process = len(server.stage_points("loss")), stage._shipper
    with TrackerSimulator(after=server) as well:
        (report,) = ship_pending(stages.root)
        runs = len(well.store.runs)
    is_left = process is not None and process.process.poll() is None
    return Arrived(trouble.name, longest_s, at_end, well.stage_points("loss"), runs, report.problem, is_left)


def _wait_for_trouble(trouble: Trouble, server: TrackerSimulator, log) -> None:
    """Waits until the shipper has met it: what follows is trained with a tracker that fails."""
    deadline = time.monotonic() + 120
    while not any(_signs(trouble, server, log)):
        assert time.monotonic() < deadline, f"{trouble.name}: not met"
        time.sleep(0.02)


def _signs(trouble: Trouble, server: TrackerSimulator, log) -> Iterator[bool]:
    if trouble.is_killed:
        yield len(server.stage_points("loss")) > 0
    elif trouble.is_there_at_start:
        yield server.was_hit.is_set()
    else:
        yield "not shipped" in log.read_text()
