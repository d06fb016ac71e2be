"""Eight of one stage's commands at once: one works, the others name it and end with 75, before they load anything.

The one that works waits for its parameters, which come through a pipe, so that it is at work until all others ended.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimagen.errors import BUSY_CODE, USER_ERROR_CODE
from minimagen.stages.run_lock import run_lock, stage_lock
from tests.durability.tables import table_of
from tests.torture import TellTable, num_times

NUM_AT_ONCE, NUM_ROUNDS = 8, num_times(1, 10)
COMMANDS = (
    ("train", "base"),
    ("ingest", "folder"),
    ("curate",),
    ("text-encoder",),
    ("embed",),
    ("train", "super"),
    ("evaluate",),
)
pytestmark = pytest.mark.timeout(120 + 30 * NUM_ROUNDS)


@dataclass(frozen=True, slots=True)
class Loser:
    """One that came second."""

    code: int
    said: str
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """Eight at once."""

    command: str
    winners: list[int]
    losers: list[Loser]
    is_killed: bool
    """Whether the winner is killed; else it goes on to find that its parameters are empty."""
    code: int
    """The winner's."""
    next_code: int
    """Of one that comes right after it."""


def start(root: Path, checkout: Path, command: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "minimagen.cli", *command],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stderr=subprocess.PIPE,
    )


def run_round(root: Path, checkout: Path, number: int) -> Round:
    """Starts eight, waits until seven have ended, and ends the one that is left."""
    root.mkdir()
    os.mkfifo(root / "params.yaml")
    command = COMMANDS[number % len(COMMANDS)]
    started = time.monotonic()
    processes = {process.pid: process for process in (start(root, checkout, command) for _ in range(NUM_AT_ONCE))}
    losers: list[Loser] = []
    while len(losers) < NUM_AT_ONCE - 1:
        pid, status, used = os.wait4(-1, 0)
        loser = processes.pop(pid)
        loser.returncode = os.waitstatus_to_exitcode(status)
        _, said = loser.communicate()
        cpu_s = used.ru_utime + used.ru_stime
        losers.append(Loser(loser.returncode, said.decode(), time.monotonic() - started, cpu_s))
    (winner,) = processes.values()
    is_killed = number % 2 == 0
    code = end(root, winner, is_killed=is_killed)
    return Round(" ".join(command), [winner.pid], losers, is_killed, code, end(root, start(root, checkout, command)))


def end(root: Path, process: "subprocess.Popen[bytes]", *, is_killed: bool = False) -> int:
    """Ends one that works: it is killed, or its parameters come and are empty; returns its exit code."""
    if is_killed:
        process.send_signal(signal.SIGKILL)
    else:
        (root / "params.yaml").write_bytes(b"")  # returns once it is being read
    process.communicate()
    return process.returncode


def test_of_eight_at_once_one_works_and_the_others_name_it(
    tmp_path: Path, checkout: Path, tell_table: TellTable
) -> None:
    rounds = [run_round(tmp_path / str(number), checkout, number) for number in range(NUM_ROUNDS)]
    tell_table(f"{NUM_AT_ONCE} at once, {NUM_ROUNDS} rounds", table_of([_row(one) for one in rounds]))
    for one in rounds:
        assert {loser.code for loser in one.losers} == {BUSY_CODE}
        named = [re.findall(r"\.lock: held by process (\d+)$", loser.said.strip()) for loser in one.losers]
        assert named == [[str(one.winners[0])]] * (NUM_AT_ONCE - 1)
        assert one.code == (-signal.SIGKILL if one.is_killed else USER_ERROR_CODE)
        assert one.next_code == USER_ERROR_CODE


def test_a_second_one_ends_before_it_loads_anything_large(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "params.yaml").touch()
    command = [sys.executable, "-X", "importtime", "-m", "minimagen.cli", "train", "base"]
    with run_lock(stage_lock(tmp_path, "train", "base")):
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert result.returncode == BUSY_CODE
    assert "typer" in imported and not imported & {"torch", "numpy", "minimagen.config"}


def _row(one: Round) -> dict[str, object]:
    return {
        "command": one.command,
        "worked": len(one.winners),
        "ended with 75": sum(loser.code == BUSY_CODE for loser in one.losers),
        "named it": sum(str(one.winners[0]) in loser.said for loser in one.losers),
        "longest, s": f"{max(loser.wall_s for loser in one.losers):.2f}",
        "most CPU, s": f"{max(loser.cpu_s for loser in one.losers):.2f}",
        "the one was": "killed" if one.is_killed else "let go on",
        "next one works": one.next_code == USER_ERROR_CODE,
    }
