"""A request that takes too long ends with the limit that it broke; nobody else's cancellation is taken for that."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from minimagen.sources.time_limits import TimeLimits, Watched

LONG_S = 60.0


async def run(limits: TimeLimits, work: Callable[[Watched], Awaitable[str]], silent_s: float = 0.0) -> str:
    async with limits:
        with limits.request(silent_s=silent_s) as watched:
            return await work(watched)


async def sleep(_: Watched) -> str:
    await asyncio.sleep(LONG_S)
    return "slept"


async def answer(_: Watched) -> str:
    return "answer"


def test_what_is_in_time_is_returned() -> None:
    assert asyncio.run(run(TimeLimits(LONG_S, LONG_S), answer)) == "answer"


@pytest.mark.parametrize(
    ("total_s", "idle_s", "told"), [(LONG_S, 0.1, "nothing came for 0.1 s"), (0.1, LONG_S, "not whole after 0.1 s")]
)
def test_the_limit_that_is_broken_is_told(total_s: float, idle_s: float, told: str) -> None:
    with pytest.raises(TimeoutError, match=told):
        asyncio.run(run(TimeLimits(total_s, idle_s), sleep))


def test_what_comes_again_and_again_breaks_no_limit_but_the_whole() -> None:
    num_pieces = 0

    async def drip(watched: Watched) -> str:
        nonlocal num_pieces
        while True:
            await asyncio.sleep(0.02)
            num_pieces += 1
            watched.heard_at = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError, match=r"not whole after 1\.5 s"):
        asyncio.run(run(TimeLimits(1.5, 0.5), drip))
    assert num_pieces > 5


def test_a_connection_still_to_be_made_has_its_own_time_before() -> None:
    async def wait(_: Watched) -> str:
        await asyncio.sleep(0.5)
        return "answer"

    assert asyncio.run(run(TimeLimits(LONG_S, 0.1), wait, silent_s=LONG_S)) == "answer"


def test_a_cancellation_by_somebody_else_stays_one() -> None:
    async def cancel_it() -> None:
        task = asyncio.create_task(run(TimeLimits(LONG_S, LONG_S), sleep))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_it())


def test_a_task_goes_on_after_a_request_of_its_took_too_long() -> None:
    async def ask_twice() -> list[str]:
        told: list[str] = []
        async with TimeLimits(LONG_S, 0.1) as limits:
            for work in (sleep, answer):
                try:
                    with limits.request(silent_s=0.0) as watched:
                        told.append(await work(watched))
                except TimeoutError:
                    told.append("late")
            await asyncio.sleep(0.3)  # a watcher that still had the first would end this
        return told

    assert asyncio.run(ask_twice()) == ["late", "answer"]


def test_what_came_while_the_loop_was_held_up_counts() -> None:
    async def held_up(watched: Watched) -> str:
        loop, came = asyncio.get_running_loop(), asyncio.Event()

        def hear() -> None:
            watched.heard_at = loop.time()
            came.set()

        loop.call_later(0.01, time.sleep, 1.0)
        loop.call_later(0.5, hear)  # due meanwhile, after the watcher
        await came.wait()
        return "answer"

    assert asyncio.run(run(TimeLimits(LONG_S, 0.4), held_up)) == "answer"
