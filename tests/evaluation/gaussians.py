"""Gaussian features whose distances are known in closed form."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal distribution of vectors, float64."""

    mean: Tensor
    covariance: Tensor

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Draws vectors."""
        root = torch.linalg.cholesky(self.covariance)
        return torch.randn(num, len(self.mean), generator=generator, dtype=torch.float64) @ root.T + self.mean


def spread_gaussian(num_features: int, *, shift: float = 0.0, scale: float = 1.0, tilt: float = 0.0) -> Gaussian:
    """Returns one whose deviations go from 0.5 to 1.5; ``tilt`` correlates neighbours."""
    deviations = torch.linspace(0.5, 1.5, num_features, dtype=torch.float64) * scale
    places = torch.arange(num_features)
    correlations = tilt ** (places[:, None] - places[None, :]).abs().double()
    return Gaussian(
        torch.full((num_features,), shift, dtype=torch.float64), torch.outer(deviations, deviations) * correlations
    )


def true_kernel_distance(first: Gaussian, second: Gaussian) -> float:
    """E k(x, x') + E k(y, y') - 2 E k(x, y) for k(x, y) = (x . y / d + 1)^3, by the moments of normal vectors."""
    return _mean_kernel(first, first) + _mean_kernel(second, second) - 2.0 * _mean_kernel(first, second)


def _mean_kernel(first: Gaussian, second: Gaussian) -> float:
    """With s = x . y: E s = a . b, E s^2 = tr (A + aa')(B + bb'), E s^3 by the third moments of Isserlis (1918)."""
    (a, big_a), (b, big_b), d = (first.mean, first.covariance), (second.mean, second.covariance), len(first.mean)
    dot = a @ b
    square = ((big_a + torch.outer(a, a)) @ (big_b + torch.outer(b, b))).trace()
    cube = dot**3 + 3 * dot * (b @ big_a @ b + a @ big_b @ a + (big_a @ big_b).trace()) + 6 * (b @ big_a @ big_b @ a)
    return float(cube / d**3 + 3 * square / d**2 + 3 * dot / d + 1.0)


def true_frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|a - b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)) (Dowson & Landau 1982)."""
    from scipy.linalg import sqrtm

    root = torch.from_numpy(np.real(np.asarray(sqrtm(first.covariance.numpy()))))
    middle = np.real(np.asarray(sqrtm((root @ second.covariance @ root).numpy()))).trace()
    spread = float(first.covariance.trace() + second.covariance.trace()) - 2.0 * float(middle)
    return float((first.mean - second.mean).square().sum()) + spread
