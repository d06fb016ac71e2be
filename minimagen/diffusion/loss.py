"""The training loss of one stage and its weight by noise level.

Draws nothing: times, noise and dropped captions are arguments. Knows no optimiser.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import reduce

from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.gaussian import Target, q_sample, target_of
from minimagen.shapes import Conditioning, Images, PerSample, SampleMask, Timesteps


def min_snr_weight(log_snr: PerSample, target: Target, gamma: float) -> PerSample:
    """Weight of the native squared error such that the weight of the x0 error is min(SNR, gamma) for each target:
    min(s, g)/s for eps, min(s, g) for x0, min(s, g)/(s + 1) for v (Min-SNR, Hang et al. 2023, section 3.4)."""
    snr = log_snr.exp()
    if target == "eps":
        return (gamma / snr).clamp(max=1.0)
    capped = snr.clamp(max=gamma)
    return capped if target == "x0" else capped / (snr + 1.0)


def loss_weight(
    log_snr: PerSample, target: Target, weighting: Literal["uniform", "min_snr"], gamma: float
) -> PerSample:
    """Returns each sample's weight; uniform is one for every noise level."""
    return torch.ones_like(log_snr) if weighting == "uniform" else min_snr_weight(log_snr, target, gamma)


@dataclass(frozen=True, slots=True)
class LossReport:
    """Squared errors of a batch, mean over pixels."""

    weighted: PerSample
    """What is minimised."""
    unweighted: PerSample
    """The same without the weight."""


def denoising_loss(
    denoiser: Denoiser,
    x0: Images,
    eps: Images,
    t: Timesteps,
    conditioning: Conditioning,
    is_dropped: SampleMask | None,
    *,
    weighting: Literal["uniform", "min_snr"],
    gamma: float,
) -> LossReport:
    """w(t) ||target - prediction(x_t)||^2 (DDPM, Ho et al. 2020, eq. 14, with the weight of Min-SNR), in fp32."""
    log_snr = denoiser.schedule.log_snr(t)
    prediction = denoiser.predict(q_sample(x0, eps, log_snr), t, conditioning, is_dropped).float()
    errors = (prediction - target_of(denoiser.target, x0, eps, log_snr)).square()
    unweighted = reduce(errors, "b c h w -> b", "mean")
    return LossReport(unweighted * loss_weight(log_snr, denoiser.target, weighting, gamma), unweighted)
