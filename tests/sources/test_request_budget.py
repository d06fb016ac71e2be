import json
from multiprocessing import get_context
from pathlib import Path

import pytest

from minimagen.sources.clock import SYSTEM_CLOCK
from minimagen.sources.request_budget import HOUR_S, RequestBudget
from tests.sources.anime_services import NOON, VirtualClock


def budget_of(folder: Path, clock: VirtualClock, per_hour: int = 5) -> RequestBudget:
    return RequestBudget(folder / "budget.json", per_hour=per_hour, clock=clock)


def test_no_hour_has_more_than_its_requests(tmp_path: Path) -> None:
    clock = VirtualClock()
    granted: list[float] = []
    for _ in range(150):
        if budget_of(tmp_path, clock).take():  # a new object each time, as a new run is
            granted.append(clock.wall())
        clock.sleep(97.0)

    worst = max(sum(start <= at < start + HOUR_S for at in granted) for start in granted)
    assert worst == 5
    assert len(granted) == 5 * 4


def test_a_window_that_is_full_opens_when_its_first_request_is_an_hour_old(tmp_path: Path) -> None:
    clock = VirtualClock()
    budget = budget_of(tmp_path, clock)
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]

    clock.sleep(HOUR_S - 1)
    assert not budget.take()
    clock.sleep(1)
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]


def test_a_block_holds_for_an_hour_whatever_is_left(tmp_path: Path) -> None:
    clock = VirtualClock()
    budget_of(tmp_path, clock).block()

    clock.sleep(HOUR_S - 1)
    assert not budget_of(tmp_path, clock).take()
    clock.sleep(1)
    assert budget_of(tmp_path, clock).take()


def test_a_clock_that_was_set_back_frees_nothing_and_holds_for_an_hour_at_most(tmp_path: Path) -> None:
    clock = VirtualClock(elapsed_s=1e9)
    assert [budget_of(tmp_path, clock).take() for _ in range(5)] == [True] * 5
    clock.elapsed_s = 0.0

    assert not budget_of(tmp_path, clock).take()
    clock.sleep(HOUR_S - 1)
    assert not budget_of(tmp_path, clock).take()
    clock.sleep(1)
    assert budget_of(tmp_path, clock).take()


def test_a_block_of_a_clock_that_was_set_back_ends_after_an_hour(tmp_path: Path) -> None:
    clock = VirtualClock(elapsed_s=1e9)
    budget_of(tmp_path, clock).block()
    clock.elapsed_s = 0.0

    assert not budget_of(tmp_path, clock).take()
    clock.sleep(HOUR_S)
    assert budget_of(tmp_path, clock).take()


@pytest.mark.parametrize("content", ["\n", "{", "5", '{"requests": 3, "blocked_until": 0}', '{"requests": ["x"]}'])
def test_a_damaged_file_counts_as_all_spent(tmp_path: Path, content: str) -> None:
    clock = VirtualClock()
    (tmp_path / "budget.json").write_text(content)

    assert not budget_of(tmp_path, clock).take()


def test_what_a_kill_left_behind_the_line_is_passed_over(tmp_path: Path) -> None:
    clock = VirtualClock()
    assert budget_of(tmp_path, clock).take()
    with (tmp_path / "budget.json").open("ab") as stream:
        stream.write(b'1800000000.0],"blocked_unt')

    assert [budget_of(tmp_path, clock).take() for _ in range(5)] == [True] * 4 + [False]
    assert [path.name for path in tmp_path.iterdir()] == ["budget.json"]


def _take_many(path: Path) -> int:
    budget = RequestBudget(path, per_hour=7, clock=SYSTEM_CLOCK)
    return sum(budget.take() for _ in range(20))


def test_processes_share_one_budget(tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        granted = pool.map(_take_many, [tmp_path / "budget.json"] * 4, chunksize=1)

    assert sum(granted) == 7


def test_the_file_holds_the_last_hour_only(tmp_path: Path) -> None:
    clock = VirtualClock()
    for _ in range(20):
        budget_of(tmp_path, clock).take()
        clock.sleep(1800.0)

    record = json.loads((tmp_path / "budget.json").read_text())
    assert record["requests"] == [NOON + 18 * 1800.0, NOON + 19 * 1800.0]
