"""A target that everything is known of: x0 ~ N(mean, deviation^2), independent for each value of a picture."""

import math
from collections.abc import Callable, Iterator

import torch

from minimagen.diffusion.gaussian import alpha_sigma
from minimagen.diffusion.guidance import DenoiseFn
from minimagen.diffusion.samplers import (
    Sampler,
    SamplerState,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
)
from minimagen.diffusion.schedule import NoiseSchedule

MEAN = torch.tensor([0.3, -0.5, 0.0], dtype=torch.float64)[None, :, None, None]
DEVIATION = torch.tensor([0.4, 0.2, 0.7], dtype=torch.float64)[None, :, None, None]


class UniformSchedule(NoiseSchedule):
    """Log-SNR from 6 to -6 in equal steps: no part of it is coarser than another, so orders show at few steps."""

    def log_snr(self, t: torch.Tensor) -> torch.Tensor:
        return 6.0 - 12.0 * t


class UncutCosine(NoiseSchedule):
    """The squared cosine without limits: log-SNR from inf to -inf."""

    def log_snr(self, t: torch.Tensor) -> torch.Tensor:
        return torch.where(t < 1.0, -2.0 * torch.log(torch.tan(0.5 * math.pi * t)), -math.inf)


def exact_denoise(schedule: NoiseSchedule) -> DenoiseFn:
    """Returns E[x0 | x_t] in closed form."""

    def denoise(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = alpha_sigma(schedule.log_snr(t))
        mean, variance = MEAN.to(xt), DEVIATION.to(xt) ** 2
        return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (xt - alpha * mean)

    return denoise


def exact_flow(schedule: NoiseSchedule, xt: torch.Tensor, t: float) -> torch.Tensor:
    """Returns where the probability flow takes noise of time 1 by time ``t``: it keeps the quantile of each value."""

    def law(time: float) -> tuple[torch.Tensor, torch.Tensor]:
        alpha, sigma = alpha_sigma(schedule.log_snr(torch.full((1,), time, dtype=xt.dtype)))
        return alpha * MEAN, (alpha**2 * DEVIATION**2 + sigma**2).sqrt()

    (first_mean, first_deviation), (mean, deviation) = law(1.0), law(t)
    return mean + deviation / first_deviation * (xt - first_mean)


def no_noise(shape: tuple[int, ...]) -> Callable[[int], torch.Tensor]:
    """Returns a source of zeros in the place of noise."""
    return lambda step: torch.zeros(shape, dtype=torch.float64)


def run(
    sampler: Sampler,
    schedule: NoiseSchedule,
    xt: torch.Tensor,
    num_steps: int,
    *,
    denoise: DenoiseFn | None = None,
    noise_of: Callable[[int], torch.Tensor] | None = None,
) -> Iterator[SamplerState]:
    """Starts a sampler on the target, or on another ``denoise``; DDPM without noise unless it is given some."""
    denoise = denoise or exact_denoise(schedule)
    if sampler == "ddpm":
        return sample_ddpm(denoise, schedule, xt, num_steps, noise_of or no_noise(tuple(xt.shape)))
    samplers = {"ddim": sample_ddim, "dpmpp_2m": sample_dpmpp_2m, "heun": sample_heun}
    return samplers[sampler](denoise, schedule, xt, num_steps)


def final(states: Iterator[SamplerState]) -> torch.Tensor:
    """Returns the sample."""
    return list(states)[-1].xt
