"""The kernel distance between drawn and real pictures (KID, Binkowski et al. 2018), with an interval for few of them.

Knows feature vectors, no pictures. The squared maximum mean discrepancy is estimated without bias, so a perfect model
scores zero on average whatever the number of pictures, and a single estimate may be below zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minimagen.evaluation.metrics import Estimate, tails
from minimagen.shapes import Vectors

NUM_RESAMPLES = 2000
NOISE_SHARE = 0.6
"""Share of the linear terms' noise that is taken off. All of it makes intervals of nearly equal sets too short (in
simulations they cover 90 to 93 %), none of it those of equal sets too long (99 %)."""
SKEWED_SHAPE = 0.427
"""Shape of the gamma weights of the linear terms. Their skewness 2 / sqrt(shape) is (2 z^2 + 1) / (z^2 - 1), z = 1.96:
with it quantiles of a resampled mean are the ends of Johnson's skew-corrected t interval (1978)."""


def kernel_distance(drawn: Vectors, real: Vectors, generator: torch.Generator) -> Estimate:
    """Returns KID with its 95 % interval.

    KID = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j), k(x, y) = (x . y / d + 1)^3
    (Binkowski et al. 2018, equations 3 and 4).

    The interval comes of a bootstrap with random weights of the terms of the estimate's Hoeffding decomposition: a
    linear one, less the noise that it has of its own, and a quadratic one, which is all that is left where both sets
    are alike (Leucht & Neumann 2013). Resampling pictures instead would count the resampling as an error there.

    Args:
        drawn: features of drawn pictures; the two sets may differ in size.

    Raises:
        ValueError: a set has fewer than two pictures.

    Determinism: consumes ``generator``.
    """
    if min(len(drawn), len(real)) < 2:
        raise ValueError(f"KID needs two pictures of each kind, not {len(drawn)} and {len(real)}")
    within, beyond, between = (
        polynomial_kernel(first, second) for first, second in ((drawn, drawn), (real, real), (drawn, real))
    )
    value = _off_diagonal_mean(within) + _off_diagonal_mean(beyond) - 2.0 * between.mean()
    errors = _errors(_terms(within, beyond, between), generator)
    low, high = (value - torch.quantile(errors, tails().flip(0))).tolist()
    return Estimate(float(value), low, high)


def polynomial_kernel(first: Vectors, second: Vectors) -> Tensor:
    """Returns k(x, y) = (x . y / d + 1)^3 for each pair, float64 (Binkowski et al. 2018, section 4)."""
    return (first.double() @ second.double().T / first.shape[1] + 1.0) ** 3


@dataclass(frozen=True, slots=True)
class _Terms:
    """The decomposition of the estimate: what each picture adds, and what each pair adds beyond that."""

    linear_drawn: Tensor
    linear_real: Tensor
    pairs_drawn: Tensor
    pairs_real: Tensor
    pairs_between: Tensor


def _terms(within: Tensor, beyond: Tensor, between: Tensor) -> _Terms:
    pairs_drawn, pairs_real = _centred_square(within), _centred_square(beyond)
    pairs_between = between - between.mean(1, keepdim=True) - between.mean(0, keepdim=True) + between.mean()
    noise_between = pairs_between.square().mean()
    drawn, real = (
        _linear(_row_means(own) - across, own_pairs, noise_between / len(other))
        for own, own_pairs, across, other in (
            (within, pairs_drawn, between.mean(1), beyond),
            (beyond, pairs_real, between.mean(0), within),
        )
    )
    return _Terms(drawn, real, pairs_drawn, pairs_real, pairs_between)


def _linear(sums: Tensor, own_pairs: Tensor, noise_between: Tensor) -> Tensor:
    """Centres what each picture adds and takes off what it varies for seeing only some others."""
    n = len(sums)
    centred = sums - sums.mean()
    noise = own_pairs.square().sum() / (n * (n - 1)) / (n - 1) + noise_between
    seen = centred.square().sum() / (n - 1)
    share = (1.0 - NOISE_SHARE * noise / seen).clamp(min=0.0) if seen > 0 else torch.zeros_like(seen)
    return centred * share.sqrt()


def _errors(terms: _Terms, generator: torch.Generator) -> Tensor:
    """Returns how much too large resampled estimates are."""
    n, m = len(terms.linear_drawn), len(terms.linear_real)
    skewed = _skewed((NUM_RESAMPLES, n + m), generator)
    linear = 2.0 * (skewed[:, :n] @ terms.linear_drawn / n + skewed[:, n:] @ terms.linear_real / m)
    v, w = (torch.randn(NUM_RESAMPLES, size, generator=generator, dtype=torch.float64) for size in (n, m))
    drawn = ((v @ terms.pairs_drawn) * v).sum(1) / (n * (n - 1))
    real = ((w @ terms.pairs_real) * w).sum(1) / (m * (m - 1))
    between = ((v @ terms.pairs_between) * w).sum(1) / (n * m)
    return drawn + real - 2.0 * between - linear


def _skewed(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draws from a gamma distribution moved to mean 0 and scaled to variance 1."""
    draws = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        torch.full(shape, SKEWED_SHAPE, dtype=torch.float64), generator=generator
    )  # torch.distributions.Gamma takes no generator
    return (draws - SKEWED_SHAPE) / SKEWED_SHAPE**0.5


def _row_means(kernel: Tensor) -> Tensor:
    return (kernel.sum(1) - kernel.diagonal()) / (len(kernel) - 1)


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    return _row_means(kernel).mean()


def _centred_square(kernel: Tensor) -> Tensor:
    """Takes row and column means out of the pairs of different pictures; a picture with itself adds nothing."""
    rows = _row_means(kernel)
    centred = kernel - rows[:, None] - rows[None, :] + rows.mean()
    return centred.fill_diagonal_(0.0)
