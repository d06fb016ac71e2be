"""The law of what the samplers draw, exactly: on a Gaussian target a step is affine, so mean and variance propagate."""

import math

import numpy as np
import pytest
import torch

from minimagen.diffusion.gaussian import alpha_sigma
from minimagen.diffusion.guidance import DenoiseFn
from minimagen.diffusion.samplers import Sampler
from minimagen.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_target import DEVIATION, MEAN, final, run

COSINE, FROM_NOTHING = NoiseSchedule("cosine"), NoiseSchedule("cosine", zero_terminal_snr=True)
MEANS, VARIANCES = MEAN.flatten().numpy(), DEVIATION.flatten().numpy() ** 2


def moments(sampler: Sampler, schedule: NoiseSchedule, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of each value of a sample, from the sampler's own coefficients: one picture goes
    without any noise, one starts from 1, and one for each step that adds noise gets 1 there and nowhere else."""
    shape = (2 + (num_steps if sampler == "ddpm" else 0), 3, 1, 1)
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


@pytest.mark.parametrize(
    ("sampler", "ladder"),
    [pytest.param("ddpm", (1200, 1700, 2400), marks=pytest.mark.long), ("ddim", (256, 512, 1024))],
)
def test_the_variance_comes_to_that_of_the_target_at_first_order(sampler: Sampler, ladder: tuple[int, ...]) -> None:
    errors = [np.abs(moments(sampler, FROM_NOTHING, num_steps)[1] - VARIANCES) for num_steps in ladder]

    slopes = -np.diff(np.log(errors), axis=0) / np.diff(np.log(ladder))[:, None]
    np.testing.assert_allclose(slopes, 1.0, rtol=0, atol=0.05)


CORRELATED = np.array([[0.16, 0.05, -0.18], [0.05, 0.09, 0.03], [-0.18, 0.03, 0.49]])
"""Covariance of the channels of a picture; its eigenvalues are 0.03, 0.14 and 0.57."""
Affine = np.ndarray
"""x = a + A z of the first noise z, as [a | A]: three rows, four columns."""


def correlated_denoise(schedule: NoiseSchedule) -> DenoiseFn:
    """Returns E[x0 | x_t] of the target whose channels are correlated, in closed form."""
    covariance = torch.from_numpy(CORRELATED)

    def denoise(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = (each.flatten()[0] for each in alpha_sigma(schedule.log_snr(t)))
        gain = torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(3, dtype=xt.dtype)) @ covariance * alpha
        return MEAN + torch.einsum("ij,bjhw->bihw", gain, xt - alpha * MEAN)

    return denoise


def sampled(sampler: Sampler, schedule: NoiseSchedule, num_steps: int) -> Affine:
    """Returns the map that a sampler is, from where it takes 0 and the three unit vectors."""
    start = torch.cat((torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)))[:, :, None, None]
    drawn = final(run(sampler, schedule, start, num_steps, denoise=correlated_denoise(schedule)))[:, :, 0, 0].numpy()
    return np.column_stack((drawn[0], (drawn[1:] - drawn[0]).T))


def correlated_estimate(x: Affine, level: Level) -> Affine:
    """E[x0 | x_t] by the principal axes of the target, each of which is shrunk alone."""
    (abar, noise), (variances, axes) = level, np.linalg.eigh(CORRELATED)
    gain = axes * (math.sqrt(abar) * variances / (abar * variances + noise)) @ axes.T
    constant = np.eye(1, 4)  # only a, not A, is moved
    return gain @ x + (MEANS - math.sqrt(abar) * gain @ MEANS)[:, None] * constant


def ddim_map(schedule: NoiseSchedule, num_steps: int) -> Affine:
    """x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s) eps, eps = (x_t - sqrt(abar_t) x0) / sqrt(1 - abar_t) (Song et al.
    2021, eq. 12)."""
    x = np.eye(3, 4, 1)
    for (abar, noise), (abar_before, noise_before) in levels(schedule, num_steps):
        x0 = correlated_estimate(x, (abar, noise))
        x = math.sqrt(abar_before) * x0 + math.sqrt(noise_before / noise) * (x - math.sqrt(abar) * x0)
    return x


def dpmpp_2m_map(schedule: NoiseSchedule, num_steps: int) -> Affine:
    """x_i = sigma_i / sigma_(i-1) x_(i-1) - alpha_i (e^-h_i - 1) D, D = (1 + 1/(2r)) x0_(i-1) - 1/(2r) x0_(i-2),
    r = h_(i-1) / h_i, h of lambda = ln(alpha / sigma) (Lu et al. 2022, alg. 2); the last step is of first order."""
    x, last_x0, last_h = np.eye(3, 4, 1), np.zeros((3, 4)), math.inf
    for (abar, noise), (abar_before, noise_before) in levels(schedule, num_steps):
        x0 = correlated_estimate(x, (abar, noise))
        if noise_before == 0.0:
            return x0
        h = 0.5 * math.log(abar_before * noise / (abar * noise_before)) if abar > 0.0 else math.inf
        share = h / (2.0 * last_h) if math.isfinite(last_h) else 0.0
        data = (1.0 + share) * x0 - share * last_x0
        x = math.sqrt(noise_before / noise) * x - math.sqrt(abar_before) * math.expm1(-h) * data
        last_x0, last_h = x0, h
    raise AssertionError("the last level has no noise")


def heun_map(schedule: NoiseSchedule, num_steps: int) -> Affine:
    """x + (b - a) (v_a(x) + v_b(x + (b - a) v_a(x))) / 2 between angles a and b (Heun), v = cos eps - sin x0 (Salimans
    & Ho 2022, appendix D); the last step goes to x0."""

    def velocity(x: Affine, level: Level) -> Affine:
        x0 = correlated_estimate(x, level)
        cos, sin = (math.sqrt(part) for part in level)
        return cos * (x - cos * x0) / sin - sin * x0

    x = np.eye(3, 4, 1)
    for level, after in levels(schedule, num_steps):
        if after[1] == 0.0:
            return correlated_estimate(x, level)
        turn = math.acos(math.sqrt(after[0])) - math.acos(math.sqrt(level[0]))
        slope = velocity(x, level)
        x = x + turn * (slope + velocity(x + turn * slope, after)) / 2.0
    raise AssertionError("the last level has no noise")


MAPS = {"ddim": ddim_map, "dpmpp_2m": dpmpp_2m_map, "heun": heun_map}


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("schedule", [COSINE, FROM_NOTHING, NoiseSchedule("linear", -1.0)])
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "heun"])
def test_the_law_of_correlated_channels_is_that_of_the_papers_for_any_number_of_steps(
    sampler: Sampler, schedule: NoiseSchedule, num_steps: int
) -> None:
    found, wanted = sampled(sampler, schedule, num_steps), MAPS[sampler](schedule, num_steps)

    means, covariances = zip(*((one[:, 0], one[:, 1:] @ one[:, 1:].T) for one in (found, wanted)), strict=True)
    np.testing.assert_allclose(*means, rtol=0, atol=1e-12)
    np.testing.assert_allclose(*covariances, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("sampler", "tolerance"), [("ddim", 5e-3), ("dpmpp_2m", 1e-4), ("heun", 1e-4)])
def test_the_covariance_comes_to_that_of_the_target(sampler: Sampler, tolerance: float) -> None:
    spread = sampled(sampler, FROM_NOTHING, 400)[:, 1:]

    np.testing.assert_allclose(spread @ spread.T, CORRELATED, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_from_no_signal_the_mean_is_that_of_the_target_at_once(sampler: Sampler, num_steps: int) -> None:
    mean, _ = moments(sampler, FROM_NOTHING, num_steps)

    np.testing.assert_allclose(mean, MEANS, rtol=0, atol=1e-12)


def test_from_a_rest_of_signal_the_mean_is_missed() -> None:
    """The fault that zero terminal SNR mends: noise of mean 0 stands for a picture of mean 0, not of the target's."""
    mean, _ = moments("ddim", NoiseSchedule("linear", 8.0), 1000)

    assert np.abs(mean - MEANS).max() > 0.01
