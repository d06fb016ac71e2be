"""Noise laws: log signal-to-noise ratio as a function of diffusion time, variance preserving.

Knows nothing of pictures or networks. Time runs from 0 (clean) to 1 (noise).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from minimagen.shapes import PerSample, Scalar, Timesteps

MAX_LOG_SNR = 15.0
BETA_MIN, BETA_MAX = 0.1, 20.0
FIRST_LINEAR_TIME = 1e-3


def cosine_log_snr(t: Timesteps) -> PerSample:
    """log SNR(t) = -2 ln tan(a + t (b - a)), cut to +-15 (Nichol & Dhariwal 2021, eq. 17, in the form of
    simple diffusion, Hoogeboom et al. 2023, section 3.1)."""
    first, last = (math.atan(math.exp(-0.5 * bound)) for bound in (MAX_LOG_SNR, -MAX_LOG_SNR))
    return -2.0 * torch.log(torch.tan(first + t * (last - first)))


def linear_log_snr(t: Timesteps) -> PerSample:
    """log SNR(t) = -ln(exp(B(t)) - 1) with B(t) = beta_min t + (beta_max - beta_min) t^2 / 2: the limit of many
    steps of DDPM's linear beta (Ho et al. 2020, section 4; Song et al. 2021, eq. 33).

    Time starts at 1e-3, DDPM's first step of a thousand, where the noise is about as weak as its first beta, 1e-4.
    """
    t = FIRST_LINEAR_TIME + t * (1.0 - FIRST_LINEAR_TIME)
    return -torch.log(torch.expm1(BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2))


def without_last_signal(log_snr: PerSample, first: Scalar, last: Scalar) -> PerSample:
    """alpha <- alpha_first (alpha - alpha_last) / (alpha_first - alpha_last): no signal is left at the end, and the
    start stays (Lin et al. 2023, algorithm 1), given as log-SNR.

    Args:
        first: log-SNR at time 0.
        last: log-SNR at time 1; there the result is -inf, but for rounding.
    """
    (first_alpha, first_noise), (last_alpha, _), (alpha, noise) = (
        (torch.sigmoid(at).sqrt(), torch.sigmoid(-at)) for at in (first, last, log_snr)
    )
    # Alphas are subtracted by way of their squares' complements, which keep their digits where alpha is almost 1.
    lost = (noise - first_noise) / ((first_alpha + alpha) * (first_alpha - last_alpha))
    new_alpha = first_alpha * (1.0 - lost).clamp(min=0.0)
    new_noise = first_noise + first_alpha**2 * lost * (2.0 - lost)
    return 2.0 * torch.log(new_alpha) - torch.log(new_noise)


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """A noise law, moved along log-SNR by ``shift``."""

    kind: Literal["cosine", "linear"]
    shift: float = 0.0
    zero_terminal_snr: bool = False
    """Whether log-SNR ends at -inf, so that a sampler starts from what a network was trained on."""

    def log_snr(self, t: Timesteps) -> PerSample:
        """Returns log SNR at each time, decreasing in t."""
        law = cosine_log_snr if self.kind == "cosine" else linear_log_snr
        log_snr = law(t) + self.shift
        if not self.zero_terminal_snr:
            return log_snr
        first, last = law(torch.tensor([0.0, 1.0], dtype=t.dtype, device=t.device)) + self.shift
        return torch.where(t < 1.0, without_last_signal(log_snr, first, last), -math.inf)
