import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.gaussian import alpha_sigma, q_sample
from minimagen.diffusion.samplers import Sampler, ddpm_step, dpmpp_step, evaluation_times
from minimagen.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_target import DEVIATION, MEAN, exact_denoise, exact_flow, final, run

SCHEDULE = NoiseSchedule("cosine")
FROM_NOTHING = NoiseSchedule("cosine", zero_terminal_snr=True)
SAMPLERS: list[Sampler] = ["ddpm", "ddim", "dpmpp_2m", "heun"]
ODE_SAMPLERS: list[Sampler] = ["ddim", "dpmpp_2m", "heun"]


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", ODE_SAMPLERS)
@pytest.mark.parametrize("schedule", [SCHEDULE, FROM_NOTHING])
def test_noise_is_mapped_onto_the_target(sampler: Sampler, schedule: NoiseSchedule) -> None:
    xt = noise((8, 3, 5, 5))

    sample = final(run(sampler, schedule, xt, 100))

    assert sample.dtype == torch.float32
    assert_close(sample, (MEAN + DEVIATION * xt).float(), rtol=0, atol=0.04)  # the flow of a Gaussian is affine


def test_ddpm_reaches_mean_and_deviation_of_the_target() -> None:
    xt = noise((64, 3, 8, 8))

    sample = final(run("ddpm", SCHEDULE, xt, 200, noise_of=lambda step: noise((64, 3, 8, 8), step + 1)))

    assert_close(sample.mean((0, 2, 3)), MEAN.flatten().float(), rtol=0, atol=0.03)
    assert_close(sample.std((0, 2, 3)), DEVIATION.flatten().float(), rtol=0, atol=0.02)


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


def test_steps_from_no_signal_are_the_limits_of_steps_from_little() -> None:
    xt, x0, eps = noise((2, 3, 2, 2)), noise((2, 3, 2, 2), 1), noise((2, 3, 2, 2), 2)
    nothing, little, some = (torch.full((2,), at) for at in (-torch.inf, -40.0, -2.0))

    assert_close(ddpm_step(xt, x0, nothing, some, eps), ddpm_step(xt, x0, little, some, eps), rtol=0, atol=1e-6)
    assert_close(dpmpp_step(xt, x0, nothing, some), dpmpp_step(xt, x0, little, some), rtol=0, atol=1e-6)
    assert_close(dpmpp_step(xt, x0, nothing, some), q_sample(x0, xt, some), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_every_step_is_yielded_finite_and_the_last_is_the_estimate(sampler: Sampler, num_steps: int) -> None:
    states = list(run(sampler, FROM_NOTHING, noise((1, 3, 2, 5)), num_steps))

    assert [(state.step, state.num_steps) for state in states] == [(step + 1, num_steps) for step in range(num_steps)]
    assert all(state.xt.isfinite().all() and state.x0.isfinite().all() for state in states)
    assert_close(states[-1].xt, states[-1].x0, rtol=0, atol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_estimates_asked_for_are_those_that_are_counted(sampler: Sampler) -> None:
    asked: list[float] = []

    def denoise(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert (t == t[0]).all()
        asked.append(t[0].item())
        return xt / 2

    final(run(sampler, SCHEDULE, noise((2, 3, 2, 2)), 5, denoise=denoise))

    assert sorted(asked) == sorted(evaluation_times(sampler, 5).tolist())
    assert len(asked) == (9 if sampler == "heun" else 5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(sampler: Sampler) -> None:
    xt, draws = noise((8, 3, 7, 5)), noise((6, 8, 3, 7, 5), 1)

    together = final(run(sampler, SCHEDULE, xt, 6, noise_of=lambda step: draws[step]))

    for index in range(8):
        one = slice(index, index + 1)
        alone = final(run(sampler, SCHEDULE, xt[one], 6, noise_of=lambda step, one=one: draws[step, one]))
        assert_close(together[one], alone, rtol=0, atol=2e-6)


def test_ddpm_asks_for_noise_before_every_step_but_the_last() -> None:
    asked: list[int] = []

    def noise_of(step: int) -> torch.Tensor:
        asked.append(step)
        return torch.zeros(1, 3, 2, 2)

    final(run("ddpm", SCHEDULE, noise((1, 3, 2, 2)), 4, noise_of=noise_of))

    assert asked == [0, 1, 2]


def test_the_target_is_what_its_denoiser_keeps() -> None:
    """The tests' own closed forms agree: at the end of the flow the estimate is the picture."""
    xt = noise((2, 3, 2, 2)).double()
    sample = exact_flow(SCHEDULE, xt, 0.0)

    assert_close(exact_denoise(SCHEDULE)(sample, torch.zeros(2, dtype=torch.float64)), sample, rtol=0, atol=2e-5)
