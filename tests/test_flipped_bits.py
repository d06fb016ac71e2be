"""Whatever bit of a file has flipped, and wherever it is cut off: the reader notices, and takes the older one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minimagen.datasets.captioned import CaptionedImages
from minimagen.errors import UserError
from minimagen.journal import Journal, JournalError, read_journal
from minimagen.sealed import SealError, read_sealed
from minimagen.training.checkpoint import Beside, load_newest, save_state
from minimagen.training.loop import TrainState, train
from tests.stages.tiny_project import write_tiny_data
from tests.torture import TellTable, num_times
from tests.training.saved import assert_same, everything
from tests.training.small import CPU, cpu_accelerator, small_config, small_state, small_task

pytestmark = pytest.mark.timeout(3600)
CONFIG = small_config(decay="constant")
HEAD = ("read by", "files", "bits flipped", "noticed", "cut off", "noticed", "older one taken")


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def damages() -> list[Callable[[Path, random.Random], None]]:
    """Returns what is done to a saved state, one after the other."""
    return [flip] * num_times(150, 1000) + [cut] * num_times(20, 100)


def save_two(folder: Path) -> dict[int, dict[str, torch.Tensor]]:
    state, saved = small_state(CONFIG), dict[int, dict[str, torch.Tensor]]()
    for step in (1, 2):
        list(train(state, small_task(CONFIG), config=CONFIG, num_steps=step, accelerator=cpu_accelerator()))
        save_state(folder, state, scaler=None, beside=Beside(), device=CPU)
        saved[step] = everything(state)
    return saved


def loaded(folder: Path) -> TrainState:
    state = small_state(CONFIG)
    assert load_newest(folder, state, scaler=None, device=CPU) is not None
    return state


def test_a_damaged_state_is_noticed_and_the_one_before_it_taken(tmp_path: Path, tell_table: TellTable) -> None:
    chance, saved = random.Random(0), save_two(tmp_path / "states")
    newest = tmp_path / "states/step-00000002"
    files = sorted(newest.iterdir())
    shutil.copytree(newest, tmp_path / "whole")

    state = loaded(tmp_path / "states")
    for number, damage in enumerate(damages()):
        damage(newest / files[number % len(files)].name, chance)
        state = loaded(tmp_path / "states")
        assert state.step == 1
        shutil.copytree(tmp_path / "whole", newest)
    assert_same(everything(loaded(tmp_path / "states")), saved[2])
    assert_same(everything(state), saved[1])

    flips, cuts = damages().count(flip), damages().count(cut)
    tell_table("Damaged files", [HEAD, ("load_newest", len(files), flips, flips, cuts, cuts, flips + cuts)])


def test_a_flipped_bit_of_embeddings_or_shards_stops_a_training(tmp_path: Path, tell_table: TellTable) -> None:
    write_tiny_data(tmp_path)
    chance, data = random.Random(1), tmp_path / "data"
    files = [*data.glob("curated/**/*.parquet"), *data.glob("embeddings/shards/*.safetensors")]
    assert len(files) == 4
    num_flips = num_times(40, 400)

    for number in range(num_flips):
        path = files[number % len(files)]
        whole = path.read_bytes()
        flip(path, chance)
        with pytest.raises(UserError, match=path.stem):
            CaptionedImages.load(
                data / "curated", data / "embeddings", split="train", size=8, crop="center", cache=None
            )
        path.write_bytes(whole)

    tell_table("Damaged files", [HEAD, ("CaptionedImages.load", len(files), num_flips, num_flips, 0, 0, "")])


def test_a_flipped_bit_of_a_model_is_noticed(tmp_path: Path) -> None:
    save_two(tmp_path)
    chance, folder = random.Random(2), tmp_path / "step-00000002"
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for _ in range(num_times(10, 100)):
            flip(path, chance)
            with pytest.raises(SealError, match=path.name):
                read_sealed(folder)
            path.write_bytes(whole)


def test_a_flipped_bit_of_a_journal_is_noticed_or_costs_its_last_line(tmp_path: Path, tell_table: TellTable) -> None:
    path, chance = tmp_path / "journal.jsonl", random.Random(3)
    with Journal.open(path, clock=lambda: 0.0) as journal:
        for step in range(20):
            journal.append("metric", step, {"loss": 1.0 / (step + 1)})
    whole, entries = path.read_bytes(), list(read_journal(path))
    num_flips, num_told = num_times(100, 1000), 0

    for _ in range(num_flips):
        flip(path, chance)
        try:
            assert list(read_journal(path)) == entries[:-1]
        except JournalError:
            num_told += 1
        path.write_bytes(whole)

    assert 0.8 < num_told / num_flips < 1.0
    row = ("read_journal", 1, num_flips, num_flips, 0, 0, f"{num_flips - num_told} last lines")
    tell_table("Damaged files", [HEAD, row])
