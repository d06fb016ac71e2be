import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.stoppable import Stopped, let_threads_work, stop_threads, stoppable


@pytest.fixture(autouse=True)
def _nobody_is_stopping() -> Iterator[None]:
    yield
    let_threads_work()


async def wait_forever() -> None:
    async def wait() -> None:
        while True:
            await asyncio.sleep(0.001)

    await asyncio.gather(*(wait() for _ in range(10)))


def count_forever() -> None:
    while True:
        time.sleep(0.001)


@pytest.mark.parametrize("work", [count_forever, lambda: asyncio.run(wait_forever())])
def test_threads_at_work_stop_and_no_other_does(work: Callable[[], None]) -> None:
    started, left = threading.Barrier(3), threading.Event()

    def stay() -> None:
        with stoppable():
            started.wait()
            work()

    def leave() -> str:
        with stoppable():
            pass
        started.wait()
        left.wait()
        return "done"

    with ThreadPoolExecutor(2) as threads:
        working, other = threads.submit(stay), threads.submit(leave)
        started.wait()
        stop_threads()
        assert isinstance(working.exception(timeout=30), Stopped)
        left.set()
        assert other.result(timeout=30) == "done"


def test_work_that_comes_late_is_not_begun_until_that_is_allowed() -> None:
    def work() -> str:
        with stoppable():
            return "done"

    stop_threads()
    with ThreadPoolExecutor(1) as threads:
        assert isinstance(threads.submit(work).exception(timeout=30), Stopped)
        let_threads_work()
        assert threads.submit(work).result(timeout=30) == "done"


def test_the_main_thread_is_left_to_signals() -> None:
    with stoppable():
        stop_threads()
        time.sleep(0.01)


def test_an_error_leaves_the_thread_unmarked() -> None:
    def fail() -> None:
        with stoppable():
            raise ValueError("a defect")

    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(ValueError, match="a defect"):
            threads.submit(fail).result()
        stop_threads()
        assert threads.submit(lambda: "alive").result() == "alive"
