"""Samplers: from noise to a picture by repeated estimates of the clean one.

They see a function (x_t, t) -> x0 and a noise law; they know no network, caption, guidance or device. Each is a
generator that yields every state, so that progress, previews and early stops belong to the caller. All go from time 1
to 0 in equal steps and compute in the precision of the noise they are given; time 1 may hold no signal at all. What
the last step yields is the last estimate itself: no noise is left in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from minimagen.diffusion.gaussian import alpha_sigma, angle, v_from_x0
from minimagen.diffusion.guidance import DenoiseFn
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Images, PerSample, Timesteps

Sampler = Literal["ddpm", "ddim", "dpmpp_2m", "heun"]
NoiseFn = Callable[[int], Images]
"""Standard normal noise for the given step, from 0."""


@dataclass(frozen=True, slots=True)
class SamplerState:
    """A point on the way from noise to picture."""

    step: int
    """Steps done, from 1."""
    num_steps: int
    xt: Images
    """The picture after the step; the sample itself after the last one."""
    x0: Images
    """The estimate of the clean picture that the step started from, in [-1, 1]."""


def evaluation_times(sampler: Sampler, num_steps: int) -> PerSample:
    """Returns the diffusion time of each estimate that a sampler asks for: one a step, but two in all steps of heun
    except the last."""
    starts = _grid(num_steps, torch.float32)[:-1]
    return torch.cat((starts, starts[1:])) if sampler == "heun" else starts


def _grid(num_steps: int, dtype: torch.dtype) -> PerSample:
    return torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64).to(dtype)


def _times(num_steps: int, xt: Images) -> list[PerSample]:
    return [time.to(xt.device).expand(len(xt)) for time in _grid(num_steps, xt.dtype)]


def ddpm_step(xt: Images, x0: Images, log_snr_t: PerSample, log_snr_s: PerSample, noise: Images) -> Images:
    """x_s ~ q(x_s | x_t, x0), the posterior with its own (small) variance (DDPM, Ho et al. 2020, eqs. 6 and 7; in the
    continuous form of VDM, Kingma et al. 2021, eq. 25)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(log_snr_t), alpha_sigma(log_snr_s)
    ratio = alpha_t / alpha_s
    variance_ts = -torch.expm1(log_snr_t - log_snr_s)[:, None, None, None] * sigma_t**2
    mean = ratio * (sigma_s / sigma_t) ** 2 * xt + alpha_s * variance_ts / sigma_t**2 * x0
    return mean + variance_ts.sqrt() * sigma_s / sigma_t * noise


@dataclass(frozen=True, slots=True)
class _Stride:
    """A step between two times, both before the end."""

    step: int
    """From 0."""
    end: Timesteps
    log_snr_t: PerSample
    log_snr_s: PerSample
    """Log-SNR at its start and at its end."""


def _walk(
    denoise: DenoiseFn,
    schedule: NoiseSchedule,
    xt: Images,
    num_steps: int,
    move: Callable[[Images, Images, _Stride], Images],
) -> Iterator[SamplerState]:
    """Goes through all steps; ``move`` takes x_t and the estimate of x0 along a stride, the last step takes x0."""
    times = _times(num_steps, xt)
    for step in range(num_steps):
        x0 = denoise(xt, times[step])
        if step == num_steps - 1:
            xt = x0
        else:
            end = times[step + 1]
            xt = move(xt, x0, _Stride(step, end, schedule.log_snr(times[step]), schedule.log_snr(end)))
        yield SamplerState(step + 1, num_steps, xt, x0)


def sample_ddpm(
    denoise: DenoiseFn, schedule: NoiseSchedule, xt: Images, num_steps: int, noise_of: NoiseFn
) -> Iterator[SamplerState]:
    """Ancestral sampling (Ho et al. 2020, alg. 2): on all T levels of a law of T steps, or in strides over them."""

    def move(xt: Images, x0: Images, stride: _Stride) -> Images:
        return ddpm_step(xt, x0, stride.log_snr_t, stride.log_snr_s, noise_of(stride.step))

    return _walk(denoise, schedule, xt, num_steps, move)


def dpmpp_step(xt: Images, data: Images, log_snr_t: PerSample, log_snr_s: PerSample) -> Images:
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (exp(-h) - 1) D, h = (log_snr_s - log_snr_t) / 2 (DPM-Solver++, Lu et al.
    2022, eq. 9 with its first-order term); D = x0 makes it DDIM."""
    (_, sigma_t), (alpha_s, sigma_s) = alpha_sigma(log_snr_t), alpha_sigma(log_snr_s)
    step = 0.5 * (log_snr_s - log_snr_t)[:, None, None, None]
    return sigma_s / sigma_t * xt - alpha_s * torch.expm1(-step) * data


def sample_ddim(denoise: DenoiseFn, schedule: NoiseSchedule, xt: Images, num_steps: int) -> Iterator[SamplerState]:
    """DDIM without noise of its own (Song et al. 2021, eq. 12 with sigma = 0): first order."""

    def move(xt: Images, x0: Images, stride: _Stride) -> Images:
        return dpmpp_step(xt, x0, stride.log_snr_t, stride.log_snr_s)

    return _walk(denoise, schedule, xt, num_steps, move)


def sample_dpmpp_2m(denoise: DenoiseFn, schedule: NoiseSchedule, xt: Images, num_steps: int) -> Iterator[SamplerState]:
    """DPM-Solver++(2M) (Lu et al. 2022, alg. 2): second order from the previous estimate, first order at both ends."""
    previous: tuple[Images, PerSample] | None = None

    def move(xt: Images, x0: Images, stride: _Stride) -> Images:
        nonlocal previous
        data = x0 if previous is None else _extrapolate(x0, stride.log_snr_t, stride.log_snr_s, *previous)
        previous = (x0, stride.log_snr_t)
        return dpmpp_step(xt, data, stride.log_snr_t, stride.log_snr_s)

    return _walk(denoise, schedule, xt, num_steps, move)


def _extrapolate(
    x0: Images, log_snr_t: PerSample, log_snr_s: PerSample, last_x0: Images, last_log_snr: PerSample
) -> Images:
    """D = (1 + 1/(2r)) x0_t - 1/(2r) x0_last with r = h_last / h (Lu et al. 2022, alg. 2, line 7)."""
    ratio = ((log_snr_t - last_log_snr) / (log_snr_s - log_snr_t))[:, None, None, None]
    return x0 + (x0 - last_x0) / (2.0 * ratio)


def sample_heun(denoise: DenoiseFn, schedule: NoiseSchedule, xt: Images, num_steps: int) -> Iterator[SamplerState]:
    """Heun's method on d x_t / d phi = v (Salimans & Ho 2022, appendix D), phi the angle of the noise: second order.

    A step costs two estimates, the last one. The angle, unlike the noise level of Karras et al. 2022 (alg. 1), ends at
    a finite number where no signal is left.
    """

    def move(xt: Images, x0: Images, stride: _Stride) -> Images:
        turn = angle(stride.log_snr_s) - angle(stride.log_snr_t)
        slope = v_from_x0(x0, xt, stride.log_snr_t)
        guess = xt + turn * slope
        slope_there = v_from_x0(denoise(guess, stride.end), guess, stride.log_snr_s)
        return xt + 0.5 * turn * (slope + slope_there)

    return _walk(denoise, schedule, xt, num_steps, move)
