"""How fast the samplers' errors fall with the number of steps, in float64, against exact solutions."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from scipy.integrate import solve_ivp
from torch.testing import assert_close

from minimagen.diffusion.gaussian import alpha_sigma
from minimagen.diffusion.samplers import Sampler
from minimagen.diffusion.schedule import NoiseSchedule
from tests.diffusion.gaussian_target import UncutCosine, UniformSchedule, exact_flow, final, run

ORDERS: list[tuple[Sampler, int]] = [("ddim", 1), ("dpmpp_2m", 2), ("heun", 2)]
LADDER = (64, 128, 256, 512)
UNIFORM = UniformSchedule("cosine")
NOISE = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)[:, None, None, None].expand(11, 3, 1, 1)


def slopes(error: Callable[[int], float], ladder: tuple[int, ...] = LADDER) -> list[float]:
    errors = [error(num_steps) for num_steps in ladder]
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


def path_error(sampler: Sampler, schedule: NoiseSchedule, num_steps: int, upto: float = 1.0) -> float:
    """The largest error of any state but the last, which has another aim, on the first part ``upto`` of the way."""
    states = list(run(sampler, schedule, NOISE, num_steps))[: min(round(num_steps * upto), num_steps - 1)]
    exact = (exact_flow(schedule, NOISE, 1.0 - state.step / num_steps) for state in states)
    return max((state.xt - wanted).abs().max().item() for state, wanted in zip(states, exact, strict=True))


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_every_state_on_the_way_has_the_samplers_order(sampler: Sampler, order: int) -> None:
    found = slopes(lambda num_steps: path_error(sampler, UNIFORM, num_steps))

    assert found == pytest.approx([order] * 3, abs=0.05)


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_the_order_holds_under_the_law_of_ddpm(sampler: Sampler, order: int) -> None:
    schedule = NoiseSchedule("linear")

    def halfway_error(num_steps: int) -> float:
        state = list(run(sampler, schedule, NOISE, num_steps))[num_steps // 2 - 1]
        return (state.xt - exact_flow(schedule, NOISE, 0.5)).abs().max().item()

    assert slopes(halfway_error) == pytest.approx([order] * 3, abs=0.05)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("heun", 2)])
def test_the_sample_itself_has_the_samplers_order_from_no_signal_to_no_noise(sampler: Sampler, order: int) -> None:
    schedule = UncutCosine("cosine")

    found = slopes(
        lambda num_steps: (
            (final(run(sampler, schedule, NOISE, num_steps)) - exact_flow(schedule, NOISE, 0.0)).abs().max().item()
        )
    )

    assert found == pytest.approx([order] * 3, abs=0.05)


def test_the_sample_of_dpmpp_loses_a_logarithm_to_the_first_steps_from_no_signal() -> None:
    """Log-SNR rises from -inf by steps of ln 4, ln (3/2)^2, ...: no number of them makes these small. The k-th has an
    error of about 1 / (k N^2), all have ln(N) / N^2."""
    schedule, ladder = UncutCosine("cosine"), (256, 512, 1024, 2048)

    def error_over_law(num_steps: int) -> float:
        sample = final(run("dpmpp_2m", schedule, NOISE, num_steps))
        error = (sample - exact_flow(schedule, NOISE, 0.0)).abs().max().item()
        return error * num_steps**2 / math.log(num_steps)

    constants = [error_over_law(num_steps) for num_steps in ladder]
    ratios = [later / earlier for earlier, later in pairwise(constants)]

    assert ratios == sorted(ratios, key=lambda ratio: abs(ratio - 1.0), reverse=True)
    assert 1.0 < ratios[-1] < 1.1


def two_modes(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[x0 | x_t] for x0 of -0.6 or 0.7, each with deviation 0.3: not linear in x_t."""
    alpha, sigma = alpha_sigma(UNIFORM.log_snr(t))
    variance = alpha**2 * 0.09 + sigma**2
    centres = torch.tensor([-0.6, 0.7], dtype=torch.float64)
    away = xt[..., None] - alpha[..., None] * centres
    shares = torch.softmax(-0.5 * away**2 / variance[..., None], dim=-1)
    return (shares * (centres + (alpha * 0.09 / variance)[..., None] * away)).sum(-1)


def solve_two_modes(noise: torch.Tensor, end: float) -> torch.Tensor:
    """The flow from time 1 to ``end`` as an equation in log-SNR, by an integrator of order 8."""

    def slope(log_snr: float, values: torch.Tensor) -> torch.Tensor:
        xt = torch.as_tensor(values)[:, None, None, None]
        alpha, sigma = alpha_sigma(torch.full((len(xt),), log_snr, dtype=torch.float64))
        eps = (xt - alpha * two_modes(xt, torch.full((len(xt),), (6.0 - log_snr) / 12.0, dtype=torch.float64))) / sigma
        # d alpha / d log_snr = alpha sigma^2 / 2, d sigma / d log_snr = -sigma alpha^2 / 2
        return (0.5 * sigma**2 * (xt - sigma * eps) - 0.5 * sigma * alpha**2 * eps).flatten()

    found = solve_ivp(slope, (-6.0, 6.0 - 12.0 * end), noise.flatten(), "DOP853", rtol=1e-12, atol=1e-13)
    return torch.as_tensor(found.y[:, -1])[:, None, None, None]


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_the_order_holds_where_the_estimate_is_not_linear(sampler: Sampler, order: int) -> None:
    noise = NOISE[:, :1]
    exact = solve_two_modes(noise, 0.25)

    def error(num_steps: int) -> float:
        states = list(run(sampler, UNIFORM, noise, num_steps, denoise=two_modes))
        return (states[num_steps * 3 // 4 - 1].xt - exact).abs().max().item()

    assert slopes(error, (256, 512, 1024)) == pytest.approx([order] * 2, abs=0.1)


def test_heun_takes_the_step_of_its_textbook() -> None:
    """x + h/2 (f(x, a) + f(x + h f(x, a), a + h)) for D = x / 2 between the angles pi/3 and pi/6, by hand."""

    class TwoAngles(NoiseSchedule):
        def log_snr(self, t: torch.Tensor) -> torch.Tensor:
            return -2.0 * torch.log(torch.tan(math.pi / 3 * t))

    x, turn = 0.8, -math.pi / 6
    first = (math.cos(math.pi / 3) * x - 0.5 * x) / math.sin(math.pi / 3)
    guess = x + turn * first
    second = (math.cos(math.pi / 6) * guess - 0.5 * guess) / math.sin(math.pi / 6)

    start = torch.full((1, 3, 1, 1), x, dtype=torch.float64)
    states = run("heun", TwoAngles("cosine"), start, 2, denoise=lambda xt, t: xt / 2)

    assert_close(next(states).xt, torch.full_like(start, x + 0.5 * turn * (first + second)), rtol=1e-14, atol=0)
