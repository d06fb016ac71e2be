"""Which samples are drawn: a seeded choice that shows every caption once before any caption twice.

Knows captions only.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from minimagen.seeding import generator


def choose_samples(captions: Sequence[str], num_samples: int, seed: int) -> list[int]:
    """Returns positions of at most ``num_samples`` samples in seeded order, all different.

    Determinism: a pure function of its arguments; a smaller choice is the beginning of a larger one.
    """
    shuffled: list[int] = torch.randperm(len(captions), generator=generator(seed, "choice")).tolist()
    seen: Counter[str] = Counter()
    rounds: list[tuple[int, int]] = []
    for position in shuffled:
        rounds.append((seen[captions[position]], position))
        seen[captions[position]] += 1
    return [position for _, position in sorted(rounds, key=lambda item: item[0])][:num_samples]
