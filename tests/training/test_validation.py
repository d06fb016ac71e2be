"""The held-out loss is fixed but for the weights, and its intervals are those of the times."""

from collections.abc import Sequence

import pytest
import torch

from minimagen.datasets.captioned import Batch
from minimagen.training.objective import Draws
from minimagen.training.validation import spread_indices, validation_losses


class Blank:
    """A dataset of grey pictures."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.num_samples

    def batch(self, indices: Sequence[int], *, seed: int) -> Batch:
        self.seen += indices
        keys = tuple(f"key-{index}" for index in indices)
        count = len(keys)
        return Batch(torch.zeros(count, 3, 4, 4), torch.zeros(count, 1, 2), torch.ones(count, 1).bool(), keys)


def run(loss_under, dataset: Blank | None = None, num_images: int = 64, batch_size: int = 16, seed: int = 1):
    return validation_losses(
        loss_under,
        Blank(64) if dataset is None else dataset,
        aug_level=0.2,
        num_images=num_images,
        batch_size=batch_size,
        seed=seed,
    )


def test_a_loss_equal_to_its_time_has_known_means() -> None:
    report = run(lambda batch, draws: draws.t)

    assert report.loss == pytest.approx(0.5)
    assert [(item.start, item.end) for item in report.bins] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert [item.loss for item in report.bins] == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_nothing_depends_on_the_batch_size_or_on_torchs_generator() -> None:
    def loss(batch: Batch, draws: Draws) -> torch.Tensor:
        return draws.eps.square().mean(dim=(1, 2, 3)) + draws.aug_eps.abs().mean(dim=(1, 2, 3)) + draws.t

    first = run(loss, batch_size=64)
    torch.rand(5)

    assert run(loss, batch_size=64) == first
    assert run(loss, batch_size=7).loss == pytest.approx(first.loss, rel=1e-6)
    assert run(loss, seed=2) != first


def test_no_caption_is_dropped_and_every_starting_picture_has_the_same_level() -> None:
    def loss(batch: Batch, draws: Draws) -> torch.Tensor:
        assert not draws.is_dropped.any()
        assert (draws.aug_level == 0.2).all()
        return draws.t

    run(loss)


def test_few_pictures_are_spread_over_the_whole_set() -> None:
    dataset = Blank(100)

    run(lambda batch, draws: draws.t, dataset, num_images=10)

    assert dataset.seen == list(range(0, 100, 10))


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_a_set_smaller_than_wanted_is_used_whole(num_samples: int) -> None:
    dataset = Blank(num_samples)

    report = run(lambda batch, draws: torch.ones(len(batch.keys)), dataset)

    assert dataset.seen == list(range(num_samples))
    assert report.loss == 1.0 and len(report.bins) == num_samples


def test_spread_indices_differ_and_stay_inside() -> None:
    for num_samples in (1, 5, 64, 97):
        for num_wanted in range(1, num_samples + 1):
            indices = spread_indices(num_wanted, num_samples)
            assert sorted(set(indices)) == indices and indices[0] == 0 and indices[-1] < num_samples
