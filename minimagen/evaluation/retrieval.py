"""Whether a drawn picture shows its own caption rather than others, told by features: retrieval among distractors.

Works for any data, since it needs no knowledge of what a picture truly shows. Knows vectors and captions, no network.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from minimagen.errors import UserError
from minimagen.seeding import derive_seed, generator
from minimagen.shapes import Vectors

NUM_CANDIDATES = 10
"""The right one and nine distractors, or as many as there are different captions."""


def likeness(drawn: Vectors, real: Vectors) -> Tensor:
    """Returns the cosine of each drawn picture's features with each real one's, both less the mean of the real ones."""
    center = real.mean(0)
    return cosines(drawn - center, real - center)


def cosines(first: Vectors, second: Vectors) -> Tensor:
    """Returns the cosine of each vector with each other one, float64 of shape (first, second)."""
    return functional.normalize(first.double(), dim=1) @ functional.normalize(second.double(), dim=1).T


def count_candidates(captions: Sequence[str]) -> int:
    """Returns among how many captions each is looked for; 1 where no other caption is."""
    return min(NUM_CANDIDATES, len(set(captions)))


def retrieved(similarity: Tensor, captions: Sequence[str], asked: Sequence[int], seed: int) -> list[bool]:
    """Says for each drawn picture whether, of its own candidate and distractors, its own is the most similar.

    Args:
        similarity: (drawn, candidates); candidate j belongs to caption j.
        captions: of each candidate. One of an equal caption is no distractor.
        asked: which caption each drawn picture is looked for with.
        seed: with the captions decides who are distractors.
    """
    num_distractors = count_candidates(captions) - 1
    by_caption = {caption: place for place, caption in enumerate(captions)}
    found: list[bool] = []
    for row, own in enumerate(asked):
        others = [place for caption, place in by_caption.items() if caption != captions[own]]
        draws = generator(seed, "distractors", row, captions[own])
        chosen = [others[index] for index in torch.randperm(len(others), generator=draws)[:num_distractors].tolist()]
        found.append(bool((similarity[row, own] > similarity[row, chosen]).all()))
    return found


def nearest_own(similarity: Tensor) -> list[bool]:
    """Says for each drawn picture whether of all candidates its own, the one of its row, is the most similar."""
    others = similarity.clone().fill_diagonal_(-torch.inf)
    return (similarity.diagonal() > others.max(dim=1).values).tolist()


def exchange_captions(captions: Sequence[str], seed: int) -> list[int]:
    """Returns for each picture the index of another picture's caption, a permutation in which no caption is its own.

    Equal captions count as one: they stand side by side in an order that is random by caption, and every picture takes
    the caption as many steps further as the most frequent caption has copies.

    Raises:
        ValueError: one caption is more than half of them.
    """
    order = sorted(
        range(len(captions)), key=lambda index: (derive_seed(seed, "other captions", captions[index]), index)
    )
    step = max(Counter(captions).values())
    if not can_exchange(captions):
        raise UserError(f"{step} of {len(captions)} captions are equal: they cannot be exchanged for others")
    others = [0] * len(captions)
    for place, index in enumerate(order):
        others[index] = order[(place + step) % len(order)]
    return others


def can_exchange(captions: Sequence[str]) -> bool:
    """Says whether every picture can be given another caption than its own."""
    return 2 * max(Counter(captions).values()) <= len(captions)
