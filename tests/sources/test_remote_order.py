"""The same shard, to the byte, whatever the order in which hosts answer, and whoever had to be asked again."""

import asyncio
import functools
import random
from pathlib import Path

import pytest

from minimagen.shards import ShardReport
from minimagen.sources import remote
from minimagen.sources.outcomes import Fetched, Postponed, Refused
from tests.simulators.pictures import picture_file
from tests.sources.remote_case import Case, adds_up, candidate
from tests.torture import num_times

NUM_ROWS = 30
NUM_ORDERS = num_times(25, 100)
URL = "http://host{host}.example/{kind}/{name}.png"
KINDS = ["ok"] * 5 + ["same", "same", "flat", "gone", "cut"]


def url_of(number: int) -> str:
    return URL.format(host=number % 4, kind=KINDS[number % len(KINDS)], name=number)


def answer_of(url: str) -> Fetched | Refused:
    *_, kind, name = url.split("/")
    if kind == "gone":
        return Refused("http_410", "status 410")
    content = picture_file("ok" if kind == "cut" else kind, "7" if kind == "same" else name, "png")
    return Fetched(content[: len(content) // 2] if kind == "cut" else content, url)


class Arrivals:
    """Stands where the fetcher of pictures stands: answers in an order of its own, and puts some off."""

    def __init__(self, order: random.Random, *_: object, **__: object) -> None:
        self._order = order

    async def __aenter__(self) -> "Arrivals":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def fetch(self, url: str) -> Fetched | Refused | Postponed:
        is_put_off = self._order.random() < 0.05
        for _ in range(self._order.randrange(40)):
            await asyncio.sleep(0)
        return Postponed("not now") if is_put_off else answer_of(url)


def ingest(case: Case, in_flight: int) -> list[ShardReport]:
    """Runs a case until nothing is pending."""
    candidates = [candidate(str(number), url_of(number)) for number in range(NUM_ROWS)]
    [job] = case.plan(candidates, in_flight=in_flight)
    reports = [remote.run(job, folder=case.folder, state=case.state)]
    while reports[-1].pending:
        reports.append(remote.run(job, folder=case.folder, state=case.state))
    return reports


def test_all_orders_of_arrival_give_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results: set[tuple[tuple[str, bytes], ...]] = set()
    num_runs = 0
    for seed in range(NUM_ORDERS):
        order, case = random.Random(seed), Case(tmp_path / str(seed))
        monkeypatch.setattr(remote, "ImageFetcher", functools.partial(Arrivals, order))
        reports = ingest(case, in_flight=order.choice([1, 4, 64]))
        num_runs += len(reports)
        assert all(adds_up(report, NUM_ROWS) for report in reports)
        assert reports[-1].rejected == {"duplicate": 5, "flat": 3, "http_410": 3, "undecodable": 3}
        results.add(tuple(sorted(case.files().items())))

    assert len(results) == 1
    assert num_runs > 1.5 * NUM_ORDERS
