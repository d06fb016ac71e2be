"""Means of few repetitions with their 95 % intervals. Knows nothing of what was repeated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean and how far to each side the true one may be."""

    mean: float
    half_width: float | None
    """None where one repetition says nothing of the spread."""
    num_values: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.half_width is None else f"{self.mean:.3f} +- {self.half_width:.3f}"


def mean_interval(values: Sequence[float]) -> MeanInterval:
    """mean +- t s / sqrt(n), t being Student's 97.5th percentile at n - 1 degrees of freedom (Student 1908).

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("an interval of no values")
    if len(values) == 1:
        return MeanInterval(values[0], None, 1)
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return MeanInterval(fmean(values), quantile * stdev(values) / math.sqrt(len(values)), len(values))
