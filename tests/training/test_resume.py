"""A training that is killed, as often as one likes, ends with the bits of one that never was."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimagen.training.checkpoint import verify_state
from tests.contents import contents
from tests.training.killable import NUM_STEPS

KILL_AFTER_STEPS = (1, 4, 5, 8, 13, 16, 20, 28, 33, 39)


class Trainings:
    """Small trainings in a process of their own, one after another."""

    def __init__(self, checkout: Path) -> None:
        command = [sys.executable, "-m", "tests.training.killable"]
        self._server = subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == ["ready"]

    def run(self, folder: Path, kill_after_step: int | None = None) -> int:
        """Runs one, kills it as soon as it tells the step, and returns its exit code."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{folder}\n")
        self._server.stdin.flush()
        child, is_killed = 0, False
        while True:
            match self._line():
                case ["pid", number]:
                    child = int(number)
                case ["step", step] if int(step) == kill_after_step and child:
                    os.kill(child, signal.SIGKILL)
                    is_killed = True
                case ["ended", code]:
                    assert is_killed == (int(code) == -signal.SIGKILL)
                    return int(code)

    def close(self) -> None:
        self._server.communicate()

    def _line(self) -> list[str]:
        assert self._server.stdout is not None
        return self._server.stdout.readline().split()


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    server = Trainings(Path(__file__).parents[2])
    yield server
    server.close()


def last_state(folder: Path) -> dict[str, str]:
    state = folder / f"step-{NUM_STEPS:08d}"
    assert verify_state(state).step == NUM_STEPS
    return contents(state.iterdir(), state)


@pytest.fixture(scope="module")
def uninterrupted(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("straight")
    assert trainings.run(folder) == 0
    return last_state(folder)


@pytest.mark.parametrize("step", KILL_AFTER_STEPS)
def test_killed_once_and_run_again_ends_with_the_same_bits(
    tmp_path: Path, trainings: Trainings, uninterrupted: dict[str, str], step: int
) -> None:
    trainings.run(tmp_path, kill_after_step=step)

    assert trainings.run(tmp_path) == 0

    assert last_state(tmp_path) == uninterrupted
    assert not list(tmp_path.glob("*.tmp-*"))


def test_killed_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, trainings: Trainings, uninterrupted: dict[str, str]
) -> None:
    for step in range(5, NUM_STEPS, 5):
        trainings.run(tmp_path, kill_after_step=step)

    assert trainings.run(tmp_path) == 0

    assert last_state(tmp_path) == uninterrupted
