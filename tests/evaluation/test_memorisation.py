"""Nearest training pictures against brute force; reproduction with shared captions."""

import pytest
import torch

from minimagen.evaluation.memorisation import count_repeated, nearest_pictures, reproduced, reproduction_share
from minimagen.seeding import generator


def test_nearest_pictures_agree_with_brute_force():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(7, 3, 5, 4, generator=generator) * 2 - 1
    training = torch.rand(23, 3, 5, 4, generator=generator) * 2 - 1

    found = nearest_pictures(pictures, training.split(6))

    distances = torch.tensor([[float((a - b).square().mean().sqrt()) for b in training] for a in pictures]).double()
    torch.testing.assert_close(found.indices, distances.argmin(1))
    torch.testing.assert_close(found.distances, distances.amin(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk_size", [1, 4, 100])
def test_chunks_do_not_change_the_nearest_picture(chunk_size: int):
    pictures, training = torch.randn(3, 3, 4, 4), torch.randn(9, 3, 4, 4)

    found = nearest_pictures(pictures, training.split(chunk_size))

    whole = nearest_pictures(pictures, [training])
    torch.testing.assert_close(found.indices, whole.indices)
    torch.testing.assert_close(found.distances, whole.distances)


def test_a_copied_picture_is_its_own_nearest_at_distance_zero():
    training = torch.rand(12, 3, 8, 8)

    found = nearest_pictures(training[[5]], training.split(5))

    assert found.indices.tolist() == [5]
    assert float(found.distances[0]) == pytest.approx(0.0, abs=1e-6)


def test_the_earliest_of_equal_pictures_wins_across_chunks():
    training = torch.zeros(4, 3, 2, 2)

    found = nearest_pictures(torch.zeros(1, 3, 2, 2), training.split(2))

    assert found.indices.tolist() == [0]


def test_opposite_pictures_are_at_distance_two():
    found = nearest_pictures(torch.ones(1, 3, 2, 2), [-torch.ones(1, 3, 2, 2)])

    torch.testing.assert_close(found.distances, torch.tensor([2.0]).double())


def test_no_training_pictures_are_refused():
    with pytest.raises(ValueError, match="no training pictures"):
        nearest_pictures(torch.zeros(1, 3, 2, 2), [])


def test_training_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4, 4\), expected \(3, 2, 2\)"):
        nearest_pictures(torch.zeros(1, 3, 2, 2), [torch.zeros(1, 3, 4, 4)])


def test_any_training_picture_of_the_caption_counts_as_reproduction():
    training = torch.stack([torch.full((3, 2, 2), value) for value in (-1.0, -0.5, 0.5, 1.0)])
    training_captions = ["dark", "dark", "light", "light"]
    pictures = torch.stack([torch.full((3, 2, 2), value) for value in (-0.6, 0.9, -0.9)])

    nearest = nearest_pictures(pictures, [training])
    right = reproduced(["dark", "light", "light"], nearest, training_captions)

    assert right == [True, True, False]
    assert reproduction_share(right).value == pytest.approx(2 / 3)


def _scattered(num: int, name: str) -> torch.Tensor:
    return torch.rand(num, 3, 4, 4, generator=generator(name)) * 2 - 1


def test_ratio_is_the_distance_over_the_mean_of_the_crowd():
    pictures, training = _scattered(5, "drawn"), _scattered(80, "training")

    found = nearest_pictures(pictures, training.split(7))

    distances = torch.cdist(pictures.flatten(1).double(), training.flatten(1).double()) / 48**0.5
    crowd = distances.sort(dim=1).values[:, :50].mean(1)
    torch.testing.assert_close(found.ratios, distances.amin(1) / crowd, atol=1e-6, rtol=1e-6)


def test_slightly_changed_training_pictures_are_copies_and_new_ones_are_not():
    training = _scattered(30, "training")
    copies = training[:4] + 0.05 * torch.randn(4, 3, 4, 4, generator=generator("noise"))

    found = nearest_pictures(torch.cat([copies, _scattered(4, "new")]), [training])

    assert found.are_copies.tolist() == [True] * 4 + [False] * 4


def test_a_single_training_picture_is_never_copied_for_want_of_a_crowd():
    found = nearest_pictures(torch.zeros(1, 3, 2, 2), [torch.zeros(1, 3, 2, 2)])

    assert found.ratios.tolist() == [1.0] and found.are_copies.tolist() == [False]


def test_pictures_repeated_under_other_captions_are_counted_and_renders_of_one_are_not():
    pictures = _scattered(4, "drawn")
    pictures[2] = pictures[0] + 0.001
    pictures[3] = pictures[1]

    assert count_repeated(pictures, ["a", "b", "c", "b"]) == 2
