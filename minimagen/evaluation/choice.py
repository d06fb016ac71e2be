"""Which of several ways to draw is taken: the cheapest that is not measurably worse than the best.

Knows scores of the same samples and costs, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from minimagen.evaluation.metrics import PairedInterval, paired_interval
from minimagen.shapes import PerSample


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to draw, tried."""

    label: str
    scores: PerSample
    """Higher is better; of the same samples, in the same order, as those of the others."""
    cost: int
    """Network evaluations a picture."""

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.scores.double().mean())


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken, and how far each candidate is behind the best one."""

    position: int
    """Of the one that is taken."""
    behind: tuple[PairedInterval, ...]
    """The best one's scores less its own, with a 95 % interval; zero for the best."""


def choose(candidates: Sequence[Candidate], generator: torch.Generator) -> Choice:
    """Takes the cheapest candidate whose interval behind the best reaches zero; of equal cost the better, or the first.

    The one-standard-error rule of model selection (Breiman et al. 1984, section 3.4.3) with a paired interval. Consumes
    ``generator``.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to choose from")
    best = max(candidates, key=lambda candidate: candidate.mean)
    behind = tuple(paired_interval(best.scores, candidate.scores, generator) for candidate in candidates)
    as_good = [position for position, gap in enumerate(behind) if gap.low <= 0.0]
    position = min(as_good, key=lambda place: (candidates[place].cost, -candidates[place].mean, place))
    return Choice(position, behind)
