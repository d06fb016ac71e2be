"""How good pictures are, as numbers with intervals: PSNR, paired differences, shares.

Knows no model, no file and no caption. Sources stand beside each equation.
"""

from dataclasses import dataclass

import torch

from minimagen.shapes import Images, PerSample

DATA_RANGE = 2.0
"""Largest minus smallest value of a picture in [-1, 1]."""
ROUNDING_MSE = (DATA_RANGE / 255) ** 2 / 12
"""Mean squared error of rounding to 8 bits (variance of a uniform error one step wide)."""
CONFIDENCE = 0.95
"""Share of repetitions whose interval covers the true value."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the interval that covers the true one in 95 of 100 repetitions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedInterval:
    """A mean difference and the interval that covers the true one in 95 of 100 repetitions."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many, with a 95 % interval of the true share."""

    num_right: int
    num_total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, 0 to 1."""
        return self.num_right / self.num_total


def psnr(pictures: Images, originals: Images) -> PerSample:
    """Returns the peak signal-to-noise ratio of each picture, in dB.

    PSNR = 10 log10(range^2 / MSE) with range 2 (Wang et al. 2004, section I). An error below that of 8-bit rounding
    counts as that error, so the best possible value is 58.9 dB and never infinite.

    Args:
        pictures: values in [-1, 1].
        originals: what the pictures should be, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if pictures.shape != originals.shape:
        raise ValueError(f"PSNR of pictures of shape {tuple(pictures.shape)} and originals {tuple(originals.shape)}")
    mse = (pictures.double() - originals.double()).square().flatten(1).mean(1)
    return 10.0 * torch.log10(DATA_RANGE**2 / mse.clamp(min=ROUNDING_MSE))


def paired_interval(
    scores: PerSample, baseline: PerSample, generator: torch.Generator, num_resamples: int = 5000
) -> PairedInterval:
    """Returns the mean of scores minus baseline with its percentile bootstrap interval.

    Resamples the per-sample differences with replacement and takes the 2.5th and 97.5th percentile of their means
    (Efron & Tibshirani 1993, section 13.3). Consumes ``generator``.

    Args:
        scores: one per sample.
        baseline: the score to beat of the same samples, in the same order.

    Raises:
        ValueError: the lengths differ, or there is no sample.
    """
    if len(scores) != len(baseline) or len(scores) == 0:
        raise ValueError(f"a paired interval needs pairs, not {len(scores)} scores and {len(baseline)} baselines")
    differences = scores.double() - baseline.double()
    means = torch.stack([_resampled_mean(differences, generator) for _ in range(num_resamples)])
    low, high = torch.quantile(means, tails()).tolist()
    return PairedInterval(mean=float(differences.mean()), low=low, high=high)


def mean_estimate(values: PerSample, generator: torch.Generator, num_resamples: int = 5000) -> Estimate:
    """Returns the mean of values with its percentile bootstrap interval, as ``paired_interval`` does of differences.

    Consumes ``generator``.
    """
    found = paired_interval(values, torch.zeros_like(values), generator, num_resamples)
    return Estimate(found.mean, found.low, found.high)


def _resampled_mean(values: PerSample, generator: torch.Generator) -> torch.Tensor:
    return values[torch.randint(len(values), (len(values),), generator=generator)].mean()


def tails() -> torch.Tensor:
    """Returns the two quantiles between which the middle 95 % lie."""
    return torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)


def share_of(num_right: int, num_total: int) -> Share:
    """Returns a share with its score interval.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.96 (Wilson 1927).

    Raises:
        ValueError: there is nothing to count, or more right than there are.
    """
    if not 0 <= num_right <= num_total or num_total == 0:
        raise ValueError(f"{num_right} of {num_total} is not a share")
    z = 1.959964
    p, n = num_right / num_total, num_total
    middle, spread = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (middle - spread) / (1 + z**2 / n), (middle + spread) / (1 + z**2 / n)
    return Share(num_right=num_right, num_total=num_total, low=max(0.0, low), high=min(1.0, high))
