"""Retrieval among distractors: perfect, guessing and shuffled pictures, with equal captions about."""

import pytest
import torch

from minimagen.errors import UserError
from minimagen.evaluation.retrieval import count_candidates, exchange_captions, likeness, nearest_own, retrieved
from minimagen.seeding import generator

CAPTIONS = [f"caption {number}" for number in range(200)]


def _features(num: int, name: str) -> torch.Tensor:
    return torch.randn(num, 16, generator=generator(name))


def test_pictures_like_the_real_ones_are_found_and_others_as_often_as_by_guessing():
    real = _features(200, "real")
    own = list(range(200))

    found = retrieved(likeness(real + 0.1 * _features(200, "noise"), real), CAPTIONS, own, seed=0)
    guessed = retrieved(likeness(_features(200, "other"), real), CAPTIONS, own, seed=0)

    assert sum(found) == 200
    assert 0.04 < sum(guessed) / 200 < 0.18


def test_exchanged_captions_are_hardly_ever_found():
    real = _features(200, "real")

    found = retrieved(likeness(real, real), CAPTIONS, exchange_captions(CAPTIONS, 0), seed=0)

    assert sum(found) / 200 < 0.18


def test_a_constant_picture_finds_its_caption_by_chance_only():
    real = _features(200, "real")
    found = retrieved(likeness(torch.ones(200, 16), real), CAPTIONS, list(range(200)), seed=0)

    assert sum(found) / 200 < 0.2


def test_an_equal_caption_is_no_distractor():
    captions = ["a", "a", "b"]
    similarity = torch.tensor([[0.5, 0.9, 0.1], [0.9, 0.5, 0.1], [0.0, 0.0, 1.0]])

    assert count_candidates(captions) == 2
    assert retrieved(similarity, captions, [0, 1, 2], seed=0) == [True, True, True]


def test_distractors_do_not_depend_on_the_pictures_beside():
    real = _features(200, "real")
    similarity = likeness(_features(200, "other"), real)

    assert retrieved(similarity, CAPTIONS, list(range(200)), seed=3)[:7] == retrieved(
        similarity[:7], CAPTIONS, list(range(7)), seed=3
    )


def test_ties_are_not_found():
    assert nearest_own(torch.tensor([[1.0, 1.0], [0.0, 1.0]])) == [False, True]


def test_captions_that_are_mostly_equal_cannot_be_exchanged():
    with pytest.raises(UserError, match="3 of 4 captions are equal"):
        exchange_captions(["a", "a", "a", "b"], 0)
