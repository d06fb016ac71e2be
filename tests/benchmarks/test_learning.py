import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.course import changed, demo_params
from benchmarks.learn_ours import dataset_of, train_for
from benchmarks.learning import write_data
from benchmarks.peer_side.learning import LearningTask, learn, read_data
from benchmarks.scenes_data import open_scenes

NUM_ASKED = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learning")
    scenes = write_data(open_scenes(demo_params(), 16, num_scenes=60), path, NUM_ASKED)
    assert len(scenes) == NUM_ASKED
    return path


def test_system_draws_at_every_mark_and_its_clock_stands_meanwhile(folder: Path) -> None:
    task, output, seen = LearningTask(str(folder), (0.01, 0.02), 1), io.StringIO(), []
    data = read_data(str(folder))

    def step(indices: torch.Tensor) -> None:
        seen.append(indices)
        torch.mm(torch.ones(300, 300), torch.ones(300, 300))

    def draw() -> torch.Tensor:
        return data.images()[:NUM_ASKED]

    learn(output, task, "peer", step=step, draw=draw, num_pictures=len(data.pixels), batch_size=4)

    marks = [json.loads(line) for line in output.getvalue().splitlines()]
    drawn = np.load(folder / marks[1]["file"])
    assert [mark["mark_s"] for mark in marks] == [0.01, 0.02]
    assert marks[0]["num_steps"] < marks[1]["num_steps"] == len(seen)
    assert marks[1]["train_s"] >= 0.02
    assert np.array_equal(drawn, data.pixels[:NUM_ASKED])


def test_ours_trains_as_long_as_it_is_given(folder: Path) -> None:
    data, params = read_data(str(folder)), demo_params()
    small = changed(params.unets["base"], unet__dim=8, training__batch_size=2)

    model, num_steps = train_for(params.model_copy(update={"unets": {"base": small}}), dataset_of(data), 2.0)

    assert num_steps >= 1
    assert model.record.image_size == 16


def test_captions_reach_every_system_alike(folder: Path) -> None:
    data = read_data(str(folder))
    tokens, mask = data.text()

    batch = dataset_of(data).batch(range(len(tokens)), seed=0)

    torch.testing.assert_close(batch.text_embeds, tokens[:, : batch.text_embeds.shape[1]], atol=0, rtol=0)
    assert torch.equal(batch.text_mask, mask[:, : batch.text_mask.shape[1]])
    torch.testing.assert_close((batch.images + 1) / 2, data.images())
