"""A local pool of processes that runs shard jobs.

Knows no source. A job is idempotent and atomic, so an interrupted map continues when it is run again.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from minimagen.config import ConfigError
from minimagen.errors import UserError
from minimagen.shards import ShardJob, ShardReport

_YOUNG_OBJECTS = 10_000
"""That have come about and not gone before garbage is looked for among them."""


class WorkerDiedError(UserError):
    """A worker process was killed, or crashed."""


def num_processes_from_environment() -> int:
    """Returns MINIMAGEN_PROCESSES, or the number of CPUs this process may use.

    Raises:
        ConfigError: the variable is not a positive number.
    """
    value = os.environ.get("MINIMAGEN_PROCESSES")
    if value is None:
        return len(os.sched_getaffinity(0))
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"environment: MINIMAGEN_PROCESSES is {value!r}, expected a number from 1")
    return int(value)


def map_jobs(
    run: Callable[[ShardJob], ShardReport], jobs: Sequence[ShardJob], num_processes: int
) -> Iterator[ShardReport]:
    """Runs every job and yields reports as they finish, in any order.

    Args:
        run: importable by name (or a partial of such), since it is sent to other processes.
        num_processes: 1, or at most one job, runs in this process.

    Raises:
        WorkerDiedError: a process was killed, most likely for want of memory; what is done stays done.
    """
    if num_processes == 1 or len(jobs) <= 1:
        yield from map(run, jobs)
        return
    # "spawn": a fork would copy the locks of threads (pyarrow's, torch's) that do not live on in the copy.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_processes, len(jobs)), mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                f"a worker process was killed, perhaps for want of memory: run again with MINIMAGEN_PROCESSES below "
                f"{num_processes}; finished shards are kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leaves interrupts to the parent, which stops handing out jobs, and ends if the parent is gone.

    Garbage is looked for less often than Python would, which takes a sixth of a worker's time for next to none.
    """
    gc.set_threshold(_YOUNG_OBJECTS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a worker only"
    wait([parent.sentinel])
    os._exit(1)
