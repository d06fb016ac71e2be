"""The forward process and the algebra of its targets: picture, noise and velocity.

Knows nothing of schedules or networks: everything is said in log signal-to-noise ratio, which may be -inf (no signal
left); only what divides by alpha, the clean picture from eps, is undefined there.
"""

from typing import Literal

import torch
from einops import rearrange

from minimagen.shapes import Images, PerSample

Target = Literal["eps", "x0", "v"]


def alpha_sigma(log_snr: PerSample) -> tuple[Images, Images]:
    """alpha^2 = sigmoid(log_snr), sigma^2 = sigmoid(-log_snr) (VDM, Kingma et al. 2021), as (b, 1, 1, 1)."""
    log_snr = rearrange(log_snr, "b -> b 1 1 1")
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def q_sample(x0: Images, eps: Images, log_snr: PerSample) -> Images:
    """x_t = alpha x0 + sigma eps (DDPM, Ho et al. 2020, eq. 4)."""
    alpha, sigma = alpha_sigma(log_snr)
    return alpha * x0 + sigma * eps


def target_of(target: Target, x0: Images, eps: Images, log_snr: PerSample) -> Images:
    """Returns what a network should predict: eps, x0, or v = alpha eps - sigma x0 (Salimans & Ho 2022, section 4)."""
    if target == "eps":
        return eps
    if target == "x0":
        return x0
    alpha, sigma = alpha_sigma(log_snr)
    return alpha * eps - sigma * x0


def x0_from(target: Target, prediction: Images, xt: Images, log_snr: PerSample) -> Images:
    """Returns x0: (x_t - sigma eps) / alpha, or the prediction itself, or alpha x_t - sigma v."""
    if target == "x0":
        return prediction
    alpha, sigma = alpha_sigma(log_snr)
    if target == "eps":
        return (xt - sigma * prediction) / alpha
    return alpha * xt - sigma * prediction


def v_from_x0(x0: Images, xt: Images, log_snr: PerSample) -> Images:
    """v = (alpha x_t - x0) / sigma."""
    alpha, sigma = alpha_sigma(log_snr)
    return (alpha * xt - x0) / sigma


def angle(log_snr: PerSample) -> Images:
    """phi = arctan(sigma / alpha), from 0 (clean) to pi / 2 (no signal), where d x_t / d phi = v along the probability
    flow (Salimans & Ho 2022, appendix D), as (b, 1, 1, 1)."""
    alpha, sigma = alpha_sigma(log_snr)
    return torch.atan2(sigma, alpha)


def eps_from_x0(x0: Images, xt: Images, log_snr: PerSample) -> Images:
    """eps = (x_t - alpha x0) / sigma."""
    alpha, sigma = alpha_sigma(log_snr)
    return (xt - alpha * x0) / sigma
