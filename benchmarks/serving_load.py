"""What a server answers under load: many clients at once, beside connections that are slow on purpose.

    python -m benchmarks.serving_load --model data --requests 1000    the served model
    python -m benchmarks.serving_load --project .                     the studio's page of a project

Every request is answered or refused with a reason; memory is the server's own, resident, before and after.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.served import Answer, Served, serving
from benchmarks.tables import Cell, Report, describe_machine, show

PROMPT = "a large red apple on a blue background"
_HEAD = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Ty"
SLOW_STARTS = (_HEAD, _HEAD + b"pe: application/json\r\nContent-Length: 60000\r\n\r\n{")
"""What a slow connection sends and then says no more: a part of the headers, or of the body."""


@dataclass(frozen=True, slots=True)
class Load:
    """What became of some requests."""

    statuses: Counter[int]
    num_without_reason: int
    """Refusals that do not say why."""
    latencies_s: tuple[float, ...]
    """Of the answered ones."""
    rss_before_bytes: int
    rss_after_bytes: int

    def row(self, name: str) -> dict[str, Cell]:
        """Returns a row of the table."""
        ordered = sorted(self.latencies_s)
        return {
            "load": name,
            "requests": sum(self.statuses.values()),
            "answered": self.statuses[200],
            "refused": sum(self.statuses.values()) - self.statuses[200],
            "no reason": self.num_without_reason,
            "median s": round(statistics.median(ordered), 3),
            "p99 s": round(ordered[int(0.99 * (len(ordered) - 1))], 3),
            "MiB before": round(self.rss_before_bytes / 2**20),
            "MiB after": round(self.rss_after_bytes / 2**20),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="folder of a trained cascade, for minimagen serve")
    what.add_argument("--project", type=Path, help="folder of a project that has one, for minimagen studio")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--slow", type=int, default=100, help="slow connections")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    numbers = (options.requests, options.clients, options.slow)
    if options.project is not None:
        loads = measure_page(options.project, *numbers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            loads = measure(options.model.resolve(), Path(folder), *numbers)
    rows = [load.row(name) for name, load in loads.items()]
    show(Report(f"{options.clients} clients at once", rows, (), machine), options.json)


def measure(model: Path, root: Path, num_requests: int, num_clients: int, num_slow: int) -> dict[str, Load]:
    """Returns what became of requests to a served model alone, beside slow connections, and of as many at once as the
    line refuses."""
    with serving(["serve", "--model", str(model)], root) as served:
        return _loads(served, lambda seed: served.draw([PROMPT], seed=seed), num_requests, num_clients, num_slow)


def measure_page(project: Path, num_requests: int, num_clients: int, num_slow: int) -> dict[str, Load]:
    """As ``measure``, of the requests that the studio's page makes."""
    with serving(["studio"], project) as served:
        return _loads(served, lambda seed: served.draw_on_page(PROMPT, seed=seed), num_requests, num_clients, num_slow)


def _loads(
    served: Served, draw: Callable[[int], Answer], num_requests: int, num_clients: int, num_slow: int
) -> dict[str, Load]:
    run_load(served, draw, num_requests // 2, num_clients)  # what grows once has grown by now
    loads = {"alone": run_load(served, draw, num_requests, num_clients)}
    with slow_connections(served, num_slow):
        loads[f"beside {num_slow} slow connections"] = run_load(served, draw, num_requests, num_clients)
    loads["64 clients"] = run_load(served, draw, num_requests, 64)
    return loads


def run_load(served: Served, draw: Callable[[int], Answer], num_requests: int, num_clients: int) -> Load:
    """Sends requests from some clients, each with a seed of its own, and waits for all answers.

    Args:
        draw: sends one, given its seed.
    """
    process = psutil.Process(served.process.pid)
    before = process.memory_info().rss

    def ask(seed: int) -> tuple[Answer, float]:
        start_s = time.monotonic()
        answer = draw(seed)
        return answer, time.monotonic() - start_s

    with ThreadPoolExecutor(num_clients) as pool:
        answers = list(pool.map(ask, range(num_requests)))
    refused = [answer for answer, _ in answers if answer.status != 200]
    return Load(
        Counter(answer.status for answer, _ in answers),
        sum(not answer.json().get("error") for answer in refused),
        tuple(taken_s for answer, taken_s in answers if answer.status == 200),
        before,
        process.memory_info().rss,
    )


@contextmanager
def slow_connections(served: Served, number: int) -> Iterator[None]:
    """Holds connections that began a request and do not go on."""
    with ExitStack() as held:
        for index in range(number):
            held.enter_context(served.connect(SLOW_STARTS[index % 2] % served.port))
        yield


if __name__ == "__main__":
    main()
