import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rounds import Here, Timing, Worker, in_turn, ratio_of, speed_of
from minimagen.config import ConfigError

SERVES_SQUARES = """
import sys
sys.path.insert(0, sys.argv[1])
from case import claim_output, serve
output = claim_output()
print("a library says hello")
done = []
serve(output, {"num_parameters": 7}, lambda: done.append(sum(i * i for i in range(20_000))), num_warmup=1)
"""


def test_contestants_take_turns_at_being_first() -> None:
    order: list[str] = []

    def steps(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    timings = in_turn({name: Here(steps(name)) for name in "abc"}, num_rounds=3, num_steps=1)

    assert "".join(order) == "abcbcacab"
    assert {name: len(one) for name, one in timings.items()} == {"a": 3, "b": 3, "c": 3}


def test_preparation_is_not_timed_and_comes_before_every_measurement() -> None:
    calls: list[str] = []

    Here(lambda: calls.append("step"), lambda: calls.append("prepare")).run(2)

    assert calls == ["prepare", "step", "step"]


def test_speed_is_the_median_of_the_rounds() -> None:
    timings = [Timing(2.0, 1.0), Timing(1.0, 1.0), Timing(4.0, 2.0)]

    by_clock, by_processor = speed_of(timings, 8), speed_of(timings, 8, of_cpu=True)

    assert (by_clock.low, by_clock.median, by_clock.high) == (2.0, 4.0, 8.0)
    assert (by_processor.low, by_processor.median, by_processor.high) == (4.0, 8.0, 8.0)


def test_ratio_pairs_the_rounds() -> None:
    ours, theirs = [Timing(1.0, 1.0), Timing(2.0, 1.0)], [Timing(3.0, 2.0), Timing(4.0, 2.0)]

    ratio = ratio_of(ours, theirs)

    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.5, 3.0)
    assert ratio_of(ours, theirs, of_cpu=True).median == 2.0


def test_worker_answers_from_a_process_of_its_own(tmp_path: Path, checkout: Path) -> None:
    command = [sys.executable, "-c", SERVES_SQUARES, str(checkout / "benchmarks" / "peer_side")]

    with Worker(command, num_threads=1, errors=tmp_path / "errors.txt") as worker:
        few, many = worker.run(1), worker.run(50)

    assert worker.facts["num_parameters"] == 7
    assert 0 < few.cpu_s < many.cpu_s
    assert (tmp_path / "errors.txt").read_text() == "a library says hello\n"


def test_worker_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"died: .*no such peer"):
        Worker([sys.executable, "-c", "raise OSError('no such peer')"], num_threads=1, errors=tmp_path / "errors.txt")
