import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.stoppable import Stopped, stop_threads, stoppable


def test_threads_at_work_stop_and_no_other_does() -> None:
    started, left = threading.Barrier(3), threading.Event()

    def work() -> None:
        with stoppable():
            started.wait()
            while True:
                time.sleep(0.001)

    def leave() -> str:
        with stoppable():
            pass
        started.wait()
        left.wait()
        return "done"

    with ThreadPoolExecutor(2) as threads:
        working, other = threads.submit(work), threads.submit(leave)
        started.wait()
        stop_threads()
        assert isinstance(working.exception(timeout=30), Stopped)
        left.set()
        assert other.result(timeout=30) == "done"


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
