"""The samplers beside those of diffusers: the same noise, the same network, the same levels of noise.

Theirs are given our noise law. Left out is what is wrong or missing in theirs: with Karras spacing the multistep solver
fails on cosine laws, and Heun's method takes steps in the noise level, not in the angle, so that only the limits agree.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler, rescale_zero_terminal_snr
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from torch.testing import assert_close

from minimagen.diffusion.guidance import dynamic_threshold
from minimagen.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_target import final, run

LEVELS = 1000
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SCHEDULES = [NoiseSchedule("cosine"), NoiseSchedule("linear"), NoiseSchedule("cosine", -1.4)]
FROM_NOTHING = NoiseSchedule("linear", zero_terminal_snr=True)
Peer = DDPMScheduler | DDIMScheduler | DPMSolverMultistepScheduler


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Some function that is not linear and looks at neighbours and time."""
    return torch.tanh(0.7 * xt - 0.4 * xt.roll(1, -1) + torch.sin(5.0 * t)[:, None, None, None])


def peer(kind: Callable[..., Any], schedule: NoiseSchedule, num_steps: int, **options: object) -> Any:
    """Makes a scheduler of theirs with our noise law, started at the last of its levels, as ours does."""
    scheduler = kind(num_train_timesteps=LEVELS, prediction_type="sample", timestep_spacing="trailing", **options)
    times = torch.arange(1, LEVELS + 1, dtype=torch.float64) / LEVELS
    scheduler.alphas_cumprod = torch.sigmoid(schedule.log_snr(times))
    scheduler.set_timesteps(num_steps)
    return scheduler


def drawn_by(scheduler: Peer, xt: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    for level in scheduler.timesteps:
        t = torch.full((len(xt),), (int(level) + 1) / LEVELS, dtype=xt.dtype)
        xt = scheduler.step(network(xt, t), int(level), xt, return_dict=False, generator=generator)[0]
    return xt


@pytest.mark.parametrize("schedule", [*SCHEDULES, FROM_NOTHING])
@pytest.mark.parametrize("num_steps", [1, 20, 200])
def test_ddim_agrees(schedule: NoiseSchedule, num_steps: int) -> None:
    theirs = drawn_by(peer(DDIMScheduler, schedule, num_steps, clip_sample=False), noise())

    assert_close(final(run("ddim", schedule, noise(), num_steps, denoise=network)), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", [*SCHEDULES, FROM_NOTHING])
@pytest.mark.parametrize("num_steps", [1, 20, LEVELS])
def test_ddpm_agrees_on_all_levels_and_on_some(schedule: NoiseSchedule, num_steps: int) -> None:
    scheduler = peer(DDPMScheduler, schedule, num_steps, clip_sample=False)
    theirs = drawn_by(scheduler, noise(), generator=torch.Generator().manual_seed(1))
    draws = torch.Generator().manual_seed(1)

    ours = run(
        "ddpm",
        schedule,
        noise(),
        num_steps,
        denoise=network,
        noise_of=lambda step: torch.randn((2, 3, 4, 4), generator=draws, dtype=torch.float64),
    )

    assert_close(final(ours), theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 10, 25, 100])
def test_dpmpp_agrees(schedule: NoiseSchedule, num_steps: int) -> None:
    theirs = drawn_by(peer(DPMSolverMultistepScheduler, schedule, num_steps, final_sigmas_type="zero"), noise())

    ours = final(run("dpmpp_2m", schedule, noise(), num_steps, denoise=network))

    assert_close(ours, theirs, rtol=0, atol=2e-5)  # theirs keeps the levels of noise in fp32


def test_heun_comes_to_the_same_picture() -> None:
    """Under a law of little noise, as theirs needs: with twice the steps they are four times as near."""
    schedule = NoiseSchedule("linear", 4.0)
    alpha = torch.sigmoid(schedule.log_snr(torch.ones(1, dtype=torch.float64))).sqrt()

    def difference(num_steps: int) -> float:
        scheduler, variance_exploding = peer(HeunDiscreteScheduler, schedule, num_steps), noise() / alpha
        for level, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            t = torch.full((2,), (int(level) + 1) / LEVELS, dtype=torch.float64)
            scaled = variance_exploding / (sigma.double() ** 2 + 1.0).sqrt()
            variance_exploding = scheduler.step(network(scaled, t), level, variance_exploding, return_dict=False)[0]
        ours = final(run("heun", schedule, noise(), num_steps, denoise=network))
        return (ours - variance_exploding).abs().max().item()

    assert difference(200) < 5e-5
    assert difference(100) / difference(200) == pytest.approx(4.0, abs=0.5)


def test_the_law_without_a_last_signal_is_that_of_lin_and_others() -> None:
    plain = NoiseSchedule("linear").log_snr(torch.arange(1, LEVELS + 1, dtype=torch.float64) / LEVELS)
    abar = torch.sigmoid(plain)
    betas = 1.0 - abar / torch.cat((torch.ones(1, dtype=torch.float64), abar[:-1]))

    theirs = torch.cumprod(1.0 - rescale_zero_terminal_snr(betas), dim=0)

    ours = FROM_NOTHING.log_snr(torch.arange(1, LEVELS + 1, dtype=torch.float64) / LEVELS)
    assert_close(torch.sigmoid(ours), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [0.5, 1.3, 8.0])
def test_the_dynamic_threshold_agrees(size: float) -> None:
    scheduler = DDPMScheduler(dynamic_thresholding_ratio=0.95, sample_max_value=1.5)

    theirs = scheduler._threshold_sample(size * noise())

    assert_close(dynamic_threshold(size * noise(), 0.95, 1.5), theirs, rtol=0, atol=1e-6)
