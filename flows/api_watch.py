"""A run of a flow ends soon after its work, even if Prefect's API is dead by then.

Prefect's own calls try for minutes to tell an API that is gone; what a stage has done is recorded by DVC all the same,
and the next run finds it. Acts in the processes that a worker started for one run, and in no other.
"""

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

RUN_ID = "PREFECT__FLOW_RUN_ID"
"""The variable that a worker sets for the process of a run."""
PATIENCE_S = 10.0
"""How long the API may be away after the last stage; with the last question it is below fifteen seconds."""
_ASK_EVERY_S = 1.0
_ANSWER_WITHIN_S = 1.0
_EXIT_CODE = 1


class _Count:
    """How many stages are at work in this process."""

    def __init__(self) -> None:
        self.number = 0
        self._lock = threading.Lock()

    def add(self, change: int) -> None:
        with self._lock:
            self.number += change


_AT_WORK = _Count()


@contextmanager
def at_work() -> Iterator[None]:
    """Marks the time in which a stage runs; from its end on the API is asked whether it is there."""
    _AT_WORK.add(1)
    try:
        yield
    finally:
        _AT_WORK.add(-1)
        if RUN_ID in os.environ:
            threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends the process once the API has been away for too long with no stage at work."""
    last_there_s = time.monotonic()
    while _AT_WORK.number == 0:
        if answers(os.environ.get("PREFECT_API_URL", "")):
            last_there_s = time.monotonic()
        elif time.monotonic() - last_there_s > PATIENCE_S:
            sys.stderr.write("Prefect's API is gone: this run ends here, what it has done is recorded by DVC\n")
            sys.stderr.flush()
            os._exit(_EXIT_CODE)
        time.sleep(_ASK_EVERY_S)


def answers(api_url: str) -> bool:
    """Returns whether something speaks HTTP at an address, whatever it says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"{api_url}/health", timeout=_ANSWER_WITHIN_S).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
