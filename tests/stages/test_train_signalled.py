"""Told to stop at any instant, a training saves the step it is in and ends with 143 or 130, whatever is sent after."""

import json
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimagen.training.checkpoint import verify_state
from tests.stages.killing import Blow, Ended, Trainings, newest_step
from tests.stages.tiny_project import journalled, outs_of, run_folder, write_tiny_data
from tests.torture import TellTable, num_times

GRID_EVERY = 10
SETTINGS: dict[str, object] = {"num_steps": 60, "validate_every": 5, "save_every": 16, "snapshot_epochs": []}
SETTINGS["grid"] = {
    "every": GRID_EVERY,
    "num_captions": 4,
    "num_steps": 20,
    "guidance_scale": 2.0,
    "on_copying": "warn",
}
TERM, INT, STOP, GO = signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGCONT
ORDERS = {"SIGTERM": (TERM,), "SIGINT": (INT,), "SIGTERM twice": (TERM, TERM), "SIGINT, then SIGTERM": (INT, TERM)}
ORDERS |= {"SIGSTOP, SIGCONT, SIGTERM": (STOP, GO, TERM)}
LIMIT_S = 30.0
HEAD = ("signals", "times", "steps lost", "longest until the end, s", "end state other than undisturbed")


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    with Trainings() as server:
        yield server


def check_stopped(root: Path, ended: Ended, orders: tuple[int, ...]) -> int:
    """Checks how a training ended that was told to stop, and returns how many steps it has lost."""
    first = next(number for number in orders if number in (TERM, INT))
    assert ended.took_s < LIMIT_S
    newest = newest_step(root, "base")
    if newest:
        assert verify_state(run_folder(root) / f"states/step-{newest:08d}").step == newest
    if ended.last_step == 0:
        # A process that has not entered its stage yet simply ends; one that is through has nothing left to do.
        assert ended.code in (128 + first, -first, 0)
        return 0
    assert ended.code in (128 + first, 0)
    return 0 if ended.code == 0 else ended.last_step - newest


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_told_to_stop_at_random_instants_it_saves_and_ends_as_if_it_never_was(
    trainings: Trainings, tmp_path: Path, tell_table: TellTable
) -> None:
    chance, told = random.Random(0), dict[str, list[float]]()
    prepared, straight = tmp_path / "prepared", tmp_path / "straight"
    write_tiny_data(prepared)
    shutil.copytree(prepared, straight)
    whole_s = trainings.run(straight, "base", SETTINGS).took_s
    root = tmp_path / "stopped"

    for number in range(num_times(5, 20)):
        if not root.exists():
            shutil.copytree(prepared, root)
        name = list(ORDERS)[number % len(ORDERS)]
        ended = trainings.run(root, "base", SETTINGS, Blow(ORDERS[name], after_s=chance.uniform(0, whole_s)))
        if ended.is_struck:
            assert check_stopped(root, ended, ORDERS[name]) == 0
            told.setdefault(name, []).append(ended.took_s)
        if number % 3 == 2 or ended.code == 0:
            finish(trainings, root, straight)
    if root.exists():
        finish(trainings, root, straight)

    tell_table("Told to stop", [HEAD, *((name, len(took), 0, f"{max(took):.2f}", 0) for name, took in told.items())])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_told_to_stop_while_it_draws_it_ends_as_if_it_never_was(
    trainings: Trainings, tmp_path: Path, tell_table: TellTable
) -> None:
    chance, took_s = random.Random(1), list[float]()
    settings = SETTINGS | {"num_steps": GRID_EVERY * 2, "validate_every": GRID_EVERY}
    prepared, straight, root = (tmp_path / name for name in ("prepared", "straight", "stopped"))
    write_tiny_data(prepared)
    shutil.copytree(prepared, straight)
    assert trainings.run(straight, "base", settings).code == 0
    timings = json.loads((run_folder(straight) / "timings.json").read_text())
    grid_s = (timings["validate_s"] + timings["draw_s"]) / 2

    for _ in range(num_times(3, 20)):
        shutil.copytree(prepared, root)
        ended = trainings.run(
            root, "base", settings, Blow((TERM,), at_step=GRID_EVERY, after_s=chance.uniform(0, grid_s))
        )
        assert check_stopped(root, ended, (TERM,)) == 0
        if newest_step(root, "base") == GRID_EVERY:
            took_s.append(ended.took_s)
        finish(trainings, root, straight, settings)

    assert took_s, "every grid was drawn before the signal came"
    tell_table("Told to stop", [HEAD, ("SIGTERM while drawing", len(took_s), 0, f"{max(took_s):.2f}", 0)])


def finish(trainings: Trainings, root: Path, straight: Path, settings: dict[str, object] = SETTINGS) -> None:
    """Runs a stopped training to its end, compares that, and removes it."""
    assert trainings.run(root, "base", settings).code == 0
    assert outs_of(root) == outs_of(straight)
    assert journalled(root) == journalled(straight)
    assert not (run_folder(root) / "undone.json").exists()
    shutil.rmtree(root)
