"""The law of what the samplers draw, exactly: on a Gaussian target a step is affine, so mean and variance propagate."""

import math

import numpy as np
import pytest
import torch

from minimagen.diffusion.samplers import Sampler
from minimagen.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_target import DEVIATION, MEAN, final, run

COSINE, FROM_NOTHING = NoiseSchedule("cosine"), NoiseSchedule("cosine", zero_terminal_snr=True)
MEANS, VARIANCES = MEAN.flatten().numpy(), DEVIATION.flatten().numpy() ** 2


def moments(sampler: Sampler, schedule: NoiseSchedule, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of each value of a sample, from the sampler's own coefficients: one picture goes
    without any noise, one starts from 1, and one for each step gets noise 1 there and nowhere else."""
    shape = (num_steps + 2, 3, 1, 1)
    start = torch.zeros(shape, dtype=torch.float64)
    start[1] = 1.0

    def noise_of(step: int) -> torch.Tensor:
        noise = torch.zeros(shape, dtype=torch.float64)
        noise[step + 2] = 1.0
        return noise

    drawn = final(run(sampler, schedule, start, num_steps, noise_of=noise_of))[:, :, 0, 0].numpy()
    return drawn[0], np.square(drawn[1:] - drawn[0]).sum(axis=0)


Level = tuple[float, float]


def levels(schedule: NoiseSchedule, num_steps: int) -> list[tuple[Level, Level]]:
    """Returns (abar_t, 1 - abar_t) and (abar_s, 1 - abar_s) of each step, the first step first."""
    times = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    log_snr = schedule.log_snr(times).tolist()
    ends = [(1.0, 0.0), *((1.0 / (1.0 + math.exp(-at)), 1.0 / (1.0 + math.exp(at))) for at in log_snr)]
    return [(ends[step], ends[step - 1]) for step in range(num_steps, 0, -1)]


def estimate(mean: np.ndarray, variance: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, variance and covariance with x_t of E[x0 | x_t], for x_t of a given mean and variance."""
    abar, noise = level
    gain = math.sqrt(abar) * VARIANCES / (abar * VARIANCES + noise)
    return MEANS + gain * (mean - math.sqrt(abar) * MEANS), gain**2 * variance, gain * variance


def ddpm_moments(schedule: NoiseSchedule, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Propagates mean and variance through x_(t-1) = c0 x0 + ct x_t + sqrt(beta~) z (DDPM, Ho et al. 2020, eq. 7)."""
    mean, variance = np.zeros(3), np.ones(3)
    for (abar, noise), (abar_before, noise_before) in levels(schedule, num_steps):
        beta = (noise - noise_before) / abar_before
        for_x0 = math.sqrt(abar_before) * beta / noise
        for_xt = math.sqrt(abar / abar_before) * noise_before / noise
        x0, x0_variance, covariance = estimate(mean, variance, (abar, noise))
        mean = for_x0 * x0 + for_xt * mean
        variance = for_x0**2 * x0_variance + 2 * for_x0 * for_xt * covariance + for_xt**2 * variance
        variance = variance + beta * noise_before / noise
    return mean, variance


def ddim_moments(schedule: NoiseSchedule, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Propagates mean and variance through x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s) eps (Song et al. 2021, eq. 12)."""
    mean, variance = np.zeros(3), np.ones(3)
    for (abar, noise), (abar_before, noise_before) in levels(schedule, num_steps):
        ratio = math.sqrt(noise_before / noise)
        for_x0 = math.sqrt(abar_before) - ratio * math.sqrt(abar)
        x0, x0_variance, covariance = estimate(mean, variance, (abar, noise))
        mean = for_x0 * x0 + ratio * mean
        variance = for_x0**2 * x0_variance + 2 * for_x0 * ratio * covariance + ratio**2 * variance
    return mean, variance


@pytest.mark.parametrize("num_steps", [1, 2, 10, 1000])
@pytest.mark.parametrize("schedule", [COSINE, FROM_NOTHING, NoiseSchedule("linear", -1.0)])
def test_ddpm_has_the_moments_of_its_paper_for_any_number_of_steps(schedule: NoiseSchedule, num_steps: int) -> None:
    mean, variance = moments("ddpm", schedule, num_steps)

    wanted_mean, wanted_variance = ddpm_moments(schedule, num_steps)
    np.testing.assert_allclose(mean, wanted_mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(variance, wanted_variance, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 10, 1000])
@pytest.mark.parametrize("schedule", [COSINE, FROM_NOTHING, NoiseSchedule("linear", -1.0)])
def test_ddim_has_the_moments_of_its_paper_for_any_number_of_steps(schedule: NoiseSchedule, num_steps: int) -> None:
    mean, variance = moments("ddim", schedule, num_steps)

    wanted_mean, wanted_variance = ddim_moments(schedule, num_steps)
    np.testing.assert_allclose(mean, wanted_mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(variance, wanted_variance, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_the_variance_comes_to_that_of_the_target_at_first_order(sampler: Sampler) -> None:
    errors = [np.abs(moments(sampler, FROM_NOTHING, num_steps)[1] - VARIANCES) for num_steps in (256, 512, 1024)]

    slopes = np.log2([errors[0] / errors[1], errors[1] / errors[2]])
    np.testing.assert_allclose(slopes, 1.0, atol=0.1)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_from_no_signal_the_mean_is_that_of_the_target_at_once(sampler: Sampler, num_steps: int) -> None:
    mean, _ = moments(sampler, FROM_NOTHING, num_steps)

    np.testing.assert_allclose(mean, MEANS, rtol=0, atol=1e-12)


def test_from_a_rest_of_signal_the_mean_is_missed() -> None:
    """The fault that zero terminal SNR mends: noise of mean 0 stands for a picture of mean 0, not of the target's."""
    mean, _ = moments("ddim", NoiseSchedule("linear", 8.0), 1000)

    assert np.abs(mean - MEANS).max() > 0.01
