"""Killed at every step and at any instant, stage train ends with the outs and curves of one that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.killing import Blow, Trainings
from tests.stages.tiny_project import CHECKOUT, journalled, outs_of, write_tiny_data
from tests.torture import TORTURE, TellTable, num_times

UNETS = ("base", "super")
NUM_STEPS = 40
NO_GRID = {"every": 0, "num_captions": 1, "num_steps": 1, "guidance_scale": 2.0, "on_copying": "warn"}
SETTINGS: dict[str, object] = {"num_steps": NUM_STEPS, "validate_every": 20, "grid": NO_GRID}
KILLS_PER_RUN = 5
HEAD = ("U-Net", "killed", "runs", "kills", "end state other than undisturbed")


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    with Trainings() as server:
        yield server


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is ready to train, to be copied."""
    root = tmp_path_factory.mktemp("prepared")
    write_tiny_data(root)
    return root


class Undisturbed:
    """How the runs end that nobody kills, and how long they take."""

    def __init__(self, trainings: Trainings, prepared: Path, folder: Path) -> None:
        self.ends: dict[str, object] = {}
        self.took_s: dict[str, float] = {}
        for unet in UNETS:
            root = Path(shutil.copytree(prepared, folder / unet))
            ended = trainings.run(root, unet, SETTINGS)
            assert (ended.code, ended.last_step) == (0, NUM_STEPS)
            self.ends[unet], self.took_s[unet] = end_of(root, unet), ended.took_s


def end_of(root: Path, unet: str) -> object:
    return outs_of(root, unet), journalled(root, unet)


@pytest.fixture(scope="module")
def undisturbed(trainings: Trainings, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(trainings, prepared, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("unet", UNETS)
def test_killed_at_every_step(
    unet: str, trainings: Trainings, prepared: Path, undisturbed: Undisturbed, tmp_path: Path, tell_table: TellTable
) -> None:
    num_runs = {0: 1, 1: NUM_STEPS // KILLS_PER_RUN}.get(TORTURE, NUM_STEPS)
    num_kills, steps = 0, range(1, NUM_STEPS + 1) if TORTURE else range(3, NUM_STEPS, 9)

    for number in range(num_runs):
        root = Path(shutil.copytree(prepared, tmp_path / str(number)))
        for step in steps[number::num_runs]:
            code = trainings.run(root, unet, SETTINGS, Blow(at_step=step)).code
            assert code == -signal.SIGKILL or (step, code) == (NUM_STEPS, 0)
            num_kills += 1
        assert trainings.run(root, unet, SETTINGS).code == 0
        assert end_of(root, unet) == undisturbed.ends[unet]
        shutil.rmtree(root)

    assert num_kills == len(steps)
    tell_table("Killed trainings of 40 steps", [HEAD, (unet, "at every step", num_runs, num_kills, 0)])


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("unet", ["base", pytest.param("super", marks=pytest.mark.long)])
def test_killed_at_random_instants(
    unet: str, trainings: Trainings, prepared: Path, undisturbed: Undisturbed, tmp_path: Path, tell_table: TellTable
) -> None:
    chance, num_kills, num_runs = random.Random(unet), 0, 0

    while num_kills < num_times(6, 200):
        root = Path(shutil.copytree(prepared, tmp_path / str(num_runs)))
        for _ in range(KILLS_PER_RUN):
            after_s = chance.uniform(0, undisturbed.took_s[unet])
            num_kills += trainings.run(root, unet, SETTINGS, Blow(after_s=after_s)).code == -signal.SIGKILL
        assert trainings.run(root, unet, SETTINGS).code == 0
        assert end_of(root, unet) == undisturbed.ends[unet]
        shutil.rmtree(root)
        num_runs += 1

    tell_table("Killed trainings of 40 steps", [HEAD, (unet, "at random instants", num_runs, num_kills, 0)])


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not TORTURE, reason="a fresh interpreter takes seconds to import torch")
def test_killed_in_fresh_interpreters(
    trainings: Trainings, prepared: Path, undisturbed: Undisturbed, tmp_path: Path, tell_table: TellTable
) -> None:
    chance, num_kills = random.Random(4), 10
    settings = json.dumps(SETTINGS | {"do": "tell", "at_step": -1, "rank": 0})

    for number in range(num_kills):
        root = Path(shutil.copytree(prepared, tmp_path / str(number)))
        command = [sys.executable, "-m", "tests.stages.trainer", str(root), settings]
        environment = os.environ | {"MINIMAGEN_DEVICE": "cpu"}
        step = chance.randrange(1, NUM_STEPS)
        with subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            assert f"step {step}\n" in process.stdout
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert trainings.run(root, "base", SETTINGS).code == 0
        assert end_of(root, "base") == undisturbed.ends["base"]

    tell_table("Killed trainings of 40 steps", [HEAD, ("base", "in fresh interpreters", num_kills, num_kills, 0)])
