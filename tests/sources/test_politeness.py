"""Turns at hosts, on a clock whose hours pass at once."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from minimagen.sources.http import Fetched, ImageFetcher, Postponed, Refused
from minimagen.sources.politeness import BlockingTurns, HostParkedError, Turns
from minimagen.sources.services import ImageHosts
from tests.simulators.clocks import JumpingLoop
from tests.sources.stormy_host import StormyHost, draw_storms
from tests.torture import num_times

RATE = 2.0
HOST = "host.example:80"
Outcome = Fetched | Refused | Postponed


class _Interrupted:
    """A clock at whose first wait something happens."""

    def __init__(self, clock: JumpingLoop, happens: Callable[[], object]) -> None:
        self.now, self.wall, self.sleep_async = clock.now, clock.wall, clock.sleep_async
        self._clock, self._happens = clock, [happens]

    def sleep(self, wait_s: float) -> None:
        """Waits."""
        if self._happens:
            self._happens.pop()()
        self._clock.sleep(wait_s)


def _run(loop: JumpingLoop, work: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work)


def _turns(folder: Path, loop: JumpingLoop, *, per_host: int = 4, in_flight: int = 64) -> Turns:
    return Turns(folder, requests_per_s=RATE, per_host=per_host, in_flight=in_flight, max_wait_s=300.0, clock=loop)


def _most_in_a_second(times: list[float]) -> int:
    """Returns how many of the times, which are in order, lie in one second."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - 1.0 + 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


async def _fetch_all(host: StormyHost, state: Path, num_pictures: int, outcomes: list[Outcome]) -> None:
    """Fetches with two fetchers that know nothing of each other, as two processes do."""

    async def fetch_half(number: int) -> None:
        hosts = ImageHosts(requests_per_s=RATE, per_host=8, robots=False)
        fetcher = ImageFetcher(hosts, max_bytes=1000, state=state, num_processes=2, clock=host.clock, exchange=host)
        addresses = [f"http://host.example/{row}" for row in range(number, num_pictures, 2)]
        async with fetcher:
            outcomes.extend(await asyncio.gather(*map(fetcher.fetch, addresses)))

    await asyncio.gather(fetch_half(0), fetch_half(1))


@pytest.mark.parametrize("seed", range(num_times(1, 5)))
def test_an_hour_of_storms_costs_few_requests_and_no_picture(tmp_path: Path, seed: int) -> None:
    loop, draw, num_pictures, outcomes = JumpingLoop(), random.Random(seed), 4400, list[Outcome]()
    host = StormyHost(loop, tmp_path, draw, draw_storms(draw, loop.now(), 7200.0))
    started = loop.now()

    _run(loop, _fetch_all(host, tmp_path / "source", num_pictures, outcomes))

    assert loop.now() - started > 3600.0
    assert host.refused > 20
    assert host.too_early == 0
    assert _most_in_a_second(host.asked_at) <= RATE
    assert len(host.asked_at) <= 1.10 * num_pictures
    assert sum(isinstance(outcome, Fetched) for outcome in outcomes) >= 0.999 * num_pictures


def test_a_host_that_never_has_time_is_parked_and_its_pictures_are_postponed(tmp_path: Path) -> None:
    loop, outcomes = JumpingLoop(), list[Outcome]()
    host = StormyHost(loop, tmp_path, random.Random(0), [(0.0, 1e9)], forms=("missing",))

    _run(loop, _fetch_all(host, tmp_path / "source", 1000, outcomes))

    assert len(outcomes) == 1000
    assert all(isinstance(outcome, Postponed) for outcome in outcomes)
    assert len(host.asked_at) < 60
    assert loop.now() < 1000.0 + 2 * 300.0


def test_requests_of_one_process_are_spaced_and_few_at_a_time(tmp_path: Path) -> None:
    loop, times, num_here, most = JumpingLoop(), list[float](), 0, 0

    async def visit(turns: Turns) -> None:
        nonlocal num_here, most
        async with turns.turn(HOST) as one:
            times.append(loop.now())
            num_here, most = num_here + 1, max(most, num_here + 1)
            await loop.sleep_async(3.0)
            num_here -= 1
            one.answered()

    async def visit_all() -> None:
        turns = _turns(tmp_path, loop, per_host=3)
        await asyncio.gather(*(visit(turns) for _ in range(30)))

    _run(loop, visit_all())
    assert most == 3
    assert _most_in_a_second(times) <= RATE
    assert loop.now() - 1000.0 == pytest.approx(10 * 3.0 + 1.0, abs=1.1)


def test_all_hosts_together_have_so_many_places(tmp_path: Path) -> None:
    loop, num_here, most = JumpingLoop(), 0, 0

    async def visit(turns: Turns, host: str) -> None:
        nonlocal num_here, most
        async with turns.turn(host) as one:
            num_here, most = num_here + 1, max(most, num_here + 1)
            await loop.sleep_async(1.0)
            num_here -= 1
            one.answered()

    async def visit_all() -> None:
        turns = _turns(tmp_path, loop, in_flight=7)
        await asyncio.gather(*(visit(turns, f"host{number}.example:80") for number in range(50)))

    _run(loop, visit_all())
    assert most == 7


def test_a_pause_of_one_host_holds_nobody_else_up(tmp_path: Path) -> None:
    loop, ends = JumpingLoop(), dict[str, float]()

    async def visit(turns: Turns, host: str) -> None:
        async with turns.turn(host) as one:
            one.wants_pause(200.0)
        async with turns.turn(host) as one:
            one.answered()
        ends[host] = loop.now()

    async def work() -> None:
        turns = _turns(tmp_path, loop, in_flight=1)
        paused = asyncio.create_task(visit(turns, HOST))
        await loop.sleep_async(1.0)
        async with turns.turn("other.example:80") as one:
            one.answered()
        ends["other"] = loop.now()
        await paused

    _run(loop, work())
    assert ends["other"] == pytest.approx(1001.0)
    assert ends[HOST] == pytest.approx(1200.0)


def test_after_a_pause_one_request_finds_out_whether_it_is_over(tmp_path: Path) -> None:
    loop, times = JumpingLoop(), list[float]()

    async def visit(turns: Turns) -> None:
        async with turns.turn(HOST) as one:
            times.append(loop.now())
            await loop.sleep_async(20.0)
            one.answered()

    async def work() -> None:
        turns = _turns(tmp_path, loop)
        async with turns.turn(HOST) as one:
            one.wants_pause(10.0)
        await asyncio.gather(*(visit(turns) for _ in range(3)))

    _run(loop, work())
    assert times[0] == pytest.approx(1010.0)
    assert 1030.0 <= times[1] <= 1031.5
    assert len(times) == 3


def test_what_asks_and_has_no_answer_keeps_nobody_from_asking(tmp_path: Path) -> None:
    loop = JumpingLoop()

    async def work() -> None:
        turns = _turns(tmp_path, loop)
        async with turns.turn(HOST) as one:
            one.wants_pause(10.0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with turns.turn(HOST):
                    raise ZeroDivisionError

    _run(loop, work())
    assert loop.now() < 1012.0


def test_a_pause_too_long_to_wait_for_is_told_at_once_and_holds_for_threads_too(tmp_path: Path) -> None:
    loop = JumpingLoop()

    async def work() -> None:
        async with _turns(tmp_path, loop).turn(HOST) as one:
            assert one.wants_pause(301.0)
        with pytest.raises(HostParkedError, match=r"host.example:80 wants to be left alone for 301 s"):
            async with _turns(tmp_path, loop).turn(HOST):
                pass

    _run(loop, work())
    blocking = BlockingTurns(tmp_path, HOST, requests_per_s=RATE, in_flight=1, max_wait_s=300.0, clock=loop)
    with pytest.raises(HostParkedError), blocking.turn():
        pass
    loop.sleep(302.0)
    with blocking.turn() as one:
        one.answered()


def test_a_pause_that_begins_while_a_thread_waits_for_its_turn_holds_for_it(tmp_path: Path) -> None:
    loop = JumpingLoop()
    options = {"requests_per_s": RATE, "in_flight": 2, "max_wait_s": 300.0}
    first = BlockingTurns(tmp_path, HOST, clock=loop, **options)
    with first.turn() as one:
        interrupted = _Interrupted(loop, lambda: one.wants_pause(60.0))
        with BlockingTurns(tmp_path, HOST, clock=interrupted, **options).turn() as two:
            two.answered()
    assert loop.now() >= 1060.0
    loop.close()


def test_threads_wait_for_turns_and_pauses_as_tasks_do(tmp_path: Path) -> None:
    loop, times = JumpingLoop(), list[float]()
    turns = BlockingTurns(tmp_path, HOST, requests_per_s=RATE, in_flight=1, max_wait_s=300.0, clock=loop)

    for number in range(6):
        with turns.turn() as one:
            times.append(loop.now() - 1000.0)
            if number == 3:
                one.wants_pause(60.0)
            else:
                one.answered()

    assert times == pytest.approx([0.0, 0.5, 1.0, 1.5, 61.5, 62.0])
    loop.close()
