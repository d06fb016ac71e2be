import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from minimagen.sources.silent_pillow import silent_pillow


def warn_as_pillow() -> None:
    warnings.warn_explicit("odd metadata", UserWarning, "Image.py", 1, module="PIL.Image")


def test_pillow_is_silent_and_others_are_not() -> None:
    with silent_pillow():
        warn_as_pillow()
        with pytest.raises(UserWarning, match="ours"):
            warnings.warn("ours", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="odd metadata"):
        warn_as_pillow()


def test_it_stays_silent_until_the_last_thread_has_read() -> None:
    before, inside, first_left = list(warnings.filters), threading.Barrier(2), threading.Event()

    def first() -> None:
        with silent_pillow():
            inside.wait()
        first_left.set()

    def second() -> None:
        with silent_pillow():
            inside.wait()
            first_left.wait()
            warn_as_pillow()

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(first), threads.submit(second)]:
            future.result(timeout=30)
    assert list(warnings.filters) == before
