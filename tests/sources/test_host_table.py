"""What processes know of hosts together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.sources.host_table import Closed, HostTable, Turn
from tests.simulators.clocks import JumpingLoop

HOST = "host.example:80"
TAKE_TURNS = """
import sys
from pathlib import Path
from minimagen.sources.host_table import HostTable
from tests.simulators.clocks import ScaledClock
table = HostTable(Path(sys.argv[1]), ScaledClock(0.0, 100.0, 0.0))
for _ in range(200):
    print(table.take_turn("host.example:80", 0.05).wait_s)
"""


@pytest.fixture
def clock() -> JumpingLoop:
    """A clock that only moves when it is told to."""
    loop = JumpingLoop()
    loop.close()
    return loop


def _take(table: HostTable, interval_s: float = 1.0) -> Turn:
    turn = table.take_turn(HOST, interval_s)
    assert isinstance(turn, Turn)
    return turn


def test_processes_share_the_turns(tmp_path: Path, checkout: Path) -> None:
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=checkout) for _ in range(3)]
    turns = sorted(float(line) for worker in workers for line in worker.communicate()[0].splitlines())

    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert turns == pytest.approx([number * 0.05 for number in range(600)])


def test_turns_are_spaced_and_a_late_one_is_not_made_up_for(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    assert [_take(table).wait_s for _ in range(3)] == pytest.approx([0.0, 1.0, 2.0])
    clock.sleep(10.0)
    assert [_take(table).wait_s for _ in range(2)] == pytest.approx([0.0, 1.0])


def test_hosts_do_not_wait_for_each_other(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    turns = [table.take_turn(f"host{number}.example:80", 1.0) for number in range(1000)]
    assert all(turn == Turn(0.0, 1.0, 0) for turn in turns)
    assert len(list(tmp_path.iterdir())) <= 256


def test_a_pause_voids_the_turns_given_before_it(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    first, second = _take(table), _take(table)
    assert not table.pause(HOST, first, 60.0, 300.0)
    assert not table.holds(HOST, second)
    assert table.take_turn(HOST, 1.0) == Closed(60.0, False)
    clock.sleep(60.0)
    assert table.holds(HOST, _take(table))


def test_answers_to_requests_of_one_time_are_one_pause(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    turns = [_take(table) for _ in range(8)]
    assert not any(table.pause(HOST, turn, 50.0, 300.0) for turn in turns)
    assert table.num_pauses(HOST) == 1
    assert table.take_turn(HOST, 1.0) == Closed(50.0, False)


def test_pauses_in_a_row_park_a_host_and_a_good_answer_between_them_does_not(
    tmp_path: Path, clock: JumpingLoop
) -> None:
    table, was_parked = HostTable(tmp_path, clock), list[bool]()
    for number in range(12):
        was_parked.append(table.pause(HOST, _take(table), 60.0, 300.0))
        clock.sleep(61.0)
        if number == 3:
            _take(table)
            table.answered(HOST)
            clock.sleep(1.0)
    assert was_parked.index(True) == 4 + 5


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b'{"boot": "another", "hosts": {}}\n', b'{"hosts": 1}\n'])
def test_a_damaged_file_and_one_of_another_boot_are_as_none(tmp_path: Path, clock: JumpingLoop, content: bytes) -> None:
    table = HostTable(tmp_path, clock)
    table.pause(HOST, _take(table), 1000.0, 300.0)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert _take(table).wait_s == 0.0


def test_hosts_nobody_asks_any_more_are_forgotten(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    for number in range(2000):
        table.take_turn(f"old{number}.example:80", 1.0)
    clock.sleep(7200.0)
    for number in range(2000):
        table.take_turn(f"new{number}.example:80", 1.0)
    names = [name for path in tmp_path.iterdir() for name in json.loads(path.read_bytes())["hosts"]]
    assert len(names) == 2000
    assert all(name.startswith("new") for name in names)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, clock: JumpingLoop, checkout: Path) -> None:
    table = HostTable(tmp_path, clock)
    _take(table)
    (path,) = tmp_path.iterdir()
    hold = f"import fcntl, os, signal; f = open({str(path)!r}, 'r+'); fcntl.flock(f, fcntl.LOCK_EX)"
    killed = subprocess.run([sys.executable, "-c", f"{hold}; os.kill(os.getpid(), signal.SIGKILL)"], check=False)
    assert killed.returncode == -9
    assert _take(table).wait_s == pytest.approx(1.0)
    assert os.fspath(path).endswith(".json")


def test_a_short_pause_brings_no_request_forward(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    table.pause(HOST, _take(table), 0.1, 300.0)
    clock.sleep(0.1)
    assert _take(table).wait_s == pytest.approx(0.9)


def test_a_late_answer_that_asks_for_a_pause_voids_the_turns_given_since(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    early, late = _take(table), _take(table)
    table.pause(HOST, early, 10.0, 300.0)
    clock.sleep(11.0)
    current = _take(table)
    table.pause(HOST, late, 10.0, 300.0)
    assert not table.holds(HOST, current)
    assert table.num_pauses(HOST) == 1


def test_a_fast_host_is_asked_no_faster_for_turns_that_are_taken_together(tmp_path: Path, clock: JumpingLoop) -> None:
    tables = [HostTable(tmp_path, clock), HostTable(tmp_path, clock)]
    started, num_turns = clock.now(), 2000
    for number in range(num_turns):
        clock.sleep(_take(tables[number % 2], 0.001).wait_s)

    assert clock.now() - started == pytest.approx(num_turns * 0.001, rel=0.02)


def test_a_pause_ends_turns_that_were_taken_together(tmp_path: Path, clock: JumpingLoop) -> None:
    table = HostTable(tmp_path, clock)
    turn = _take(table, 0.001)

    table.pause(HOST, turn, 5.0, 300.0)

    assert isinstance(table.take_turn(HOST, 0.001), Closed)
