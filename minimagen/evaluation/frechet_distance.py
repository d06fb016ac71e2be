"""The Frechet distance between drawn and real pictures (FID, Heusel et al. 2017), corrected for how few there are.

Knows feature vectors, no pictures. The usual estimate is too large for few pictures, by an amount that depends on the
model (Chong & Forsyth 2020): what is told beside it is that amount taken off.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minimagen.evaluation.metrics import Estimate
from minimagen.shapes import Vectors

NUM_HALVINGS = 200
NOISE_SHARE = 0.6
"""Share of the linear part's noise that is taken off, as in ``kernel_distance``."""
Z = 1.959964
MIN_PICTURES_PER_FEATURE = 2
"""With fewer pictures in either set the covariances are too rough for any correction."""


def has_enough_pictures(num_drawn: int, num_real: int, num_features: int) -> bool:
    """Says whether a Frechet distance in so many features can be told from so many pictures."""
    return min(num_drawn, num_real) >= MIN_PICTURES_PER_FEATURE * num_features


@dataclass(frozen=True, slots=True)
class FrechetDistance:
    """FID as it is usually computed, and as it would be with infinitely many pictures."""

    usual: float
    """What others report; grows as there are fewer pictures."""
    corrected: Estimate


def frechet_distance(drawn: Vectors, real: Vectors, generator: torch.Generator) -> FrechetDistance:
    """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017, equation 6), corrected as well.

    Both sets are halved at random, again and again (a bootstrap of balanced half samples, McCarthy 1969). The mean of a
    half and its complement, less the whole, is the bias of the whole; half their difference is the linear part of the
    error, their mean the quadratic one, which is all that is left where both sets are alike.

    Args:
        drawn: features of drawn pictures; the two sets may differ in size, and are enough (``has_enough_pictures``).

    Determinism: consumes ``generator``.
    """
    center = real.double().mean(0)
    sets = [one.double() - center for one in (drawn, real)]
    usual = _distance_of(*(_moments(one, torch.ones(len(one), dtype=torch.float64)) for one in sets))
    pairs: list[tuple[float, float]] = []
    for _ in range(NUM_HALVINGS):
        halves = [_half(len(one), generator) for one in sets]
        first, second = (
            _distance_of(*(_moments(one, weights) for one, weights in zip(sets, of, strict=True)))
            for of in (halves, [2.0 - half for half in halves])
        )
        pairs.append((first, second))
    found = torch.tensor(pairs, dtype=torch.float64)
    quadratic, linear = (found[:, 0] + found[:, 1]) / 2.0, (found[:, 0] - found[:, 1]) / 2.0
    value = 2.0 * usual - float(quadratic.mean())
    noise = quadratic.var()
    spread = float((noise + (linear.square().mean() - 2.0 * NOISE_SHARE * noise).clamp(min=0.0)).sqrt())
    return FrechetDistance(usual, Estimate(value, value - Z * spread, value + Z * spread))


def _half(num_pictures: int, generator: torch.Generator) -> Tensor:
    """Returns weight 2 for a half of the pictures and 0 for the others."""
    weights = torch.zeros(num_pictures, dtype=torch.float64)
    weights[torch.randperm(num_pictures, generator=generator)[: num_pictures // 2]] = 2.0
    return weights


def _moments(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    weighted = weights[:, None] * features
    mean = weighted.sum(0) / weights.sum()
    unbiased = len(features) / (len(features) - 1)
    return mean, (weighted.T @ features / weights.sum() - torch.outer(mean, mean)) * unbiased


def _distance_of(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """tr (C1 C2)^(1/2) is the sum of the singular values of L1' L2, where C = L L'."""
    (mean, covariance), (other_mean, other_covariance) = first, second
    roots = torch.linalg.svdvals(_root(covariance).T @ _root(other_covariance))
    spread = covariance.trace() + other_covariance.trace() - 2.0 * roots.sum()
    return float((mean - other_mean).square().sum() + spread)


def _root(covariance: Tensor) -> Tensor:
    """Returns L with L L' = C."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0.0).sqrt()
