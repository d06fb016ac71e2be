import math
from collections.abc import Iterator

import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.gaussian import alpha_sigma, q_sample
from minimagen.diffusion.samplers import SamplerState, ddpm_step, sample_ddpm, sample_dpmpp_2m
from minimagen.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule("cosine")
MEAN, STD = 0.3, 0.4


def gaussian_denoise(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[x0 | x_t] for x0 ~ N(MEAN, STD^2), in closed form."""
    alpha, sigma = alpha_sigma(SCHEDULE.log_snr(t))
    gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    return MEAN + gain * (xt - alpha * MEAN)


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def final(states: Iterator[SamplerState]) -> torch.Tensor:
    return list(states)[-1].xt


def test_dpmpp_maps_noise_onto_the_target_gaussian() -> None:
    xt = noise((64, 3, 8, 8))

    sample = final(sample_dpmpp_2m(gaussian_denoise, SCHEDULE, xt, 50))

    assert_close(sample, MEAN + STD * xt, rtol=0, atol=0.02)  # the flow of a Gaussian is affine


def exact_flow(xt: torch.Tensor, t: float) -> torch.Tensor:
    """Where the probability flow of the Gaussian takes noise ``xt`` of time 1 by time ``t``: an affine map."""
    (alpha, sigma), (first_alpha, first_sigma) = (
        alpha_sigma(SCHEDULE.log_snr(torch.full((len(xt),), time, dtype=xt.dtype))) for time in (t, 1.0)
    )
    deviation = (alpha**2 * STD**2 + sigma**2).sqrt() / (first_alpha**2 * STD**2 + first_sigma**2).sqrt()
    return alpha * MEAN + deviation * (xt - first_alpha * MEAN)


def test_dpmpp_error_falls_with_the_square_of_the_steps() -> None:
    xt = noise((4, 3, 4, 4)).double()

    def error(steps: int) -> float:
        halfway = list(sample_dpmpp_2m(gaussian_denoise, SCHEDULE, xt, steps))[steps // 2 - 1].xt
        return (halfway - exact_flow(xt, 0.5)).abs().max().item()

    assert 1.6 < math.log2(error(40) / error(80)) < 2.4


def test_ddpm_reaches_mean_and_deviation_of_the_target() -> None:
    xt = noise((64, 3, 8, 8))

    sample = final(sample_ddpm(gaussian_denoise, SCHEDULE, xt, 200, lambda step: noise(xt.shape, step + 1)))

    assert abs(sample.mean().item() - MEAN) < 0.02
    assert abs(sample.std().item() - STD) < 0.02


def test_ddpm_step_keeps_the_marginal_of_the_forward_process() -> None:
    x0, log_snr_t, log_snr_s = (
        torch.full((20_000, 1, 1, 1), 0.5),
        torch.full((20_000,), -1.0),
        torch.full((20_000,), 1.0),
    )
    xt = q_sample(x0, noise(x0.shape), log_snr_t)

    xs = ddpm_step(xt, x0, log_snr_t, log_snr_s, noise(x0.shape, 1))

    alpha, sigma = alpha_sigma(log_snr_s[:1])
    assert_close(xs.mean(), alpha.squeeze() * 0.5, rtol=0, atol=0.02)
    assert_close(xs.std(), sigma.squeeze(), rtol=0, atol=0.02)


@pytest.mark.parametrize("num_steps", [1, 7])
def test_every_step_is_yielded_and_the_last_is_the_estimate(num_steps: int) -> None:
    states = list(sample_dpmpp_2m(gaussian_denoise, SCHEDULE, noise((1, 3, 2, 2)), num_steps))

    assert [state.step for state in states] == list(range(1, num_steps + 1))
    assert_close(states[-1].xt, states[-1].x0)


def test_ddpm_asks_for_noise_before_every_step_but_the_last() -> None:
    asked: list[int] = []

    def noise_of(step: int) -> torch.Tensor:
        asked.append(step)
        return torch.zeros(1, 3, 2, 2)

    list(sample_ddpm(gaussian_denoise, SCHEDULE, noise((1, 3, 2, 2)), 4, noise_of))

    assert asked == [0, 1, 2]
