import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.course import changed, demo_params
from benchmarks.learn_ours import dataset_of, train_for
from benchmarks.learning import write_data
from benchmarks.peer_side.learning import Learner, LearningData, LearningTask, learn, read_data
from benchmarks.scenes_data import open_scenes

NUM_ASKED = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learning")
    scenes = write_data(open_scenes(demo_params(), 16, num_scenes=60), path, NUM_ASKED)
    assert len(scenes) == NUM_ASKED
    return path


class Peer:
    """Learns nothing, but remembers which pictures it was given."""

    def __init__(self, data: LearningData) -> None:
        self.data, self.seen, self.is_loaded = data, [], False

    def learner(self) -> Learner:
        return Learner(self.step, lambda: self.data.images()[:NUM_ASKED], self.save, self.load)

    def step(self, indices: torch.Tensor) -> None:
        self.seen.append(indices.tolist())
        torch.mm(torch.ones(300, 300), torch.ones(300, 300))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.seen))

    def load(self, path: Path) -> None:
        self.seen, self.is_loaded = json.loads(path.read_text()), True


def marks_of(peer: Peer, folder: Path, kept: Path, *marks_s: float) -> list[dict[str, Any]]:
    output, task = io.StringIO(), LearningTask(str(folder), marks_s, 1, str(kept))
    learn(output, task, "peer", peer.learner(), num_pictures=len(peer.data.pixels), batch_size=4)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_system_draws_at_every_mark_and_its_clock_stands_meanwhile(folder: Path, tmp_path: Path) -> None:
    peer = Peer(read_data(str(folder)))

    marks = marks_of(peer, folder, tmp_path, 0.01, 0.02)

    drawn = np.load(folder / marks[1]["file"])
    assert [mark["mark_s"] for mark in marks] == [0.01, 0.02]
    assert marks[0]["num_steps"] < marks[1]["num_steps"] == len(peer.seen)
    assert marks[1]["train_s"] >= 0.02
    assert np.array_equal(drawn, peer.data.pixels[:NUM_ASKED])


def test_a_peer_goes_on_from_the_mark_before(folder: Path, tmp_path: Path) -> None:
    data = read_data(str(folder))
    (first,) = marks_of(Peer(data), folder, tmp_path, 0.02)
    peer, undisturbed = Peer(data), Peer(data)

    (second,) = marks_of(peer, folder, tmp_path, 0.04)

    marks_of(undisturbed, folder, tmp_path / "other", 0.08)
    assert second["num_steps"] == len(peer.seen) > first["num_steps"]
    num_both = min(len(peer.seen), len(undisturbed.seen))
    assert peer.seen[:num_both] == undisturbed.seen[:num_both]
    assert peer.is_loaded
    again, earlier = Peer(data), Peer(data)
    assert marks_of(again, folder, tmp_path, 0.04)[0]["num_steps"] == second["num_steps"]  # drawn again, not learned
    marks_of(earlier, folder, tmp_path, 0.01)
    assert again.is_loaded
    assert not earlier.is_loaded


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
