"""Whichever call of a training the disk refuses: it goes on where it can, and the next run ends with the same outs."""

import os
import random
import shutil
from pathlib import Path

import pytest

from minimagen.errors import is_of_disk
from minimagen.stages.train import run_train
from tests.faulty_disk import REFUSALS, Call, Handler, intercepted, listed, refuse
from tests.stages.tiny_project import journalled, outs_of, tiny_params, write_tiny_data
from tests.torture import TellTable, num_times

pytestmark = [pytest.mark.timeout(3600), pytest.mark.usefixtures("quick_starts")]
LENGTHS = (1, 5, 40)
"""So many calls in a row are refused."""


def refusing_changes(code: int, start: int, end: int) -> Handler:
    """Returns a handler that refuses changes by number; what reads a folder is not counted."""

    def handle(call: Call) -> object:
        if not start <= call.number < end or _only_reads(call):
            return call.run()
        call.tear()
        refuse(code)

    return handle


def _only_reads(call: Call) -> bool:
    return call.name == "open" and not call.arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


@pytest.mark.long
def test_any_calls_refused_cost_a_try_at_most(trained: Path, tmp_path: Path, tell_table: TellTable) -> None:
    calls, chance = list[str](), random.Random(0)
    write_tiny_data(tmp_path / "prepared")
    shutil.copytree(tmp_path / "prepared", tmp_path / "counted")
    with intercepted(listed(calls)):
        run_train(tiny_params(), "base", tmp_path / "counted")
    num_trials, num_stopped, num_held = num_times(6, 60), 0, 0

    for number in range(num_trials):
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "prepared", root)
        start, length = chance.randrange(len(calls)), LENGTHS[number % len(LENGTHS)]
        try:
            with intercepted(refusing_changes(REFUSALS[number // 2 % 3], start, start + length)):
                run_train(tiny_params(), "base", root)
        except OSError as error:
            assert is_of_disk(error), error
            num_stopped += 1
            run_train(tiny_params(), "base", root)
        num_held += outs_of(root) == outs_of(trained) and journalled(root) == journalled(trained)
        if length > 1:
            run_train(tiny_params(), "base", root)  # the removal may have been refused as well: the next start does it
        assert not [*root.glob("data/**/*.tmp-*"), *root.glob("runs/train/**/*.tmp-*")]

    assert num_held == num_trials
    head = ("calls of the run", "trials", "went on to the end", "stopped, went on in the next run", "other outs")
    row = (len(calls), num_trials, num_trials - num_stopped, num_stopped, 0)
    tell_table("Calls of a whole training refused", [head, row])
