import math
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch.testing import assert_close

from minimagen.diffusion.schedule import NoiseSchedule

Kind = Literal["cosine", "linear"]
KINDS: list[Kind] = ["cosine", "linear"]
GRID = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_log_snr_falls_from_clean_to_noise(kind: Kind, zero_terminal_snr: bool) -> None:
    log_snr = NoiseSchedule(kind, zero_terminal_snr=zero_terminal_snr).log_snr(torch.linspace(0, 1, 1001))

    assert (log_snr[1:] < log_snr[:-1]).all()
    assert log_snr[0] > 9
    assert log_snr[-1] == -math.inf if zero_terminal_snr else -16 < log_snr[-1] < -9


def test_cosine_equals_its_definition_in_numpy() -> None:
    """alpha_bar = cos^2 of an angle that grows evenly between the two where log-SNR is 15 and -15."""
    first = np.arcsin(np.sqrt(1 / (1 + np.exp(15.0))))
    last = np.arccos(np.sqrt(1 / (1 + np.exp(15.0))))
    angles = first + GRID.numpy() * (last - first)
    wanted = 2 * np.log(np.cos(angles) / np.sin(angles))

    np.testing.assert_allclose(NoiseSchedule("cosine").log_snr(GRID).numpy(), wanted, rtol=0, atol=1e-11)


def test_cosine_is_that_of_nichol_and_dhariwal_but_for_its_ends() -> None:
    """f(t) = cos^2((t + s) / (1 + s) pi / 2) with s = 0.008 (Nichol & Dhariwal 2021, eq. 17): their offset moves time
    by less than s, so alpha_bar by less than s pi / 2."""
    offset = 0.008
    squared = np.cos((GRID.numpy() + offset) / (1 + offset) * np.pi / 2) ** 2
    ours = torch.sigmoid(NoiseSchedule("cosine").log_snr(GRID)).numpy()

    assert np.abs(ours - squared / squared[0]).max() < offset * np.pi / 2


def test_linear_is_the_integral_of_its_beta() -> None:
    """alpha_bar = exp(-integral of beta), beta from 0.1 to 20 (Song et al. 2021, eq. 32)."""
    for t in (0.0, 0.1, 0.5, 1.0):
        noised, _ = quad(lambda time: 0.1 + 19.9 * time, 0.0, 1e-3 + t * (1.0 - 1e-3), epsabs=1e-14)
        ours = NoiseSchedule("linear").log_snr(torch.tensor([t], dtype=torch.float64)).item()
        assert ours == pytest.approx(-math.log(math.expm1(noised)), abs=1e-11)


def test_linear_equals_the_product_of_a_thousand_ddpm_steps() -> None:
    """beta from 1e-4 to 0.02 (Ho et al. 2020, section 4): ln(1 - beta) = -beta - beta^2 / 2 - ..., of which the limit
    of many steps keeps the first term; the sum of betas and their integral differ by less than a quarter of the last.
    """
    beta = np.linspace(1e-4, 0.02, 1000)
    log_abar = np.cumsum(np.log1p(-beta))
    steps = np.arange(1, 1001) / 1000
    t = torch.tensor((steps - 1e-3) / (1.0 - 1e-3))  # the law starts where the first step has been done

    ours = torch.nn.functional.logsigmoid(NoiseSchedule("linear").log_snr(t)).numpy()

    np.testing.assert_allclose(ours, log_abar + np.cumsum(beta**2) / 2, rtol=0, atol=0.02 / 4)
    np.testing.assert_allclose(np.exp(ours), np.exp(log_abar), rtol=0, atol=4e-3)


def test_the_shift_keeps_the_noise_per_area() -> None:
    """Means over blocks of 2 x 2 px have a quarter of the noise: at 128 px with shift 2 ln(64 / 128) they are as noisy
    as a picture of 64 px (simple diffusion, Hoogeboom et al. 2023, section 3.1)."""
    snr = NoiseSchedule("cosine").log_snr(GRID).exp()
    snr_128 = NoiseSchedule("cosine", 2.0 * math.log(64 / 128)).log_snr(GRID).exp()

    assert_close(snr_128 / (1.0 / 4.0), snr, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, -2.8])
def test_without_a_last_signal_alpha_is_moved_and_stretched_to_zero(kind: Kind, shift: float) -> None:
    """Lin et al. 2023, algorithm 1, in NumPy."""
    alpha = np.sqrt(torch.sigmoid(NoiseSchedule(kind, shift).log_snr(GRID)).numpy())
    wanted = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])

    log_snr = NoiseSchedule(kind, shift, zero_terminal_snr=True).log_snr(GRID)

    np.testing.assert_allclose(np.sqrt(torch.sigmoid(log_snr).numpy()), wanted, rtol=0, atol=1e-15)
    noise = torch.sigmoid(-log_snr).numpy()
    np.testing.assert_allclose(noise, 1.0 - wanted**2, rtol=0, atol=1e-15)
    assert log_snr[0].item() == pytest.approx(NoiseSchedule(kind, shift).log_snr(GRID)[0].item(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_fp32_is_enough_for_a_law_without_a_last_signal(kind: Kind) -> None:
    schedule = NoiseSchedule(kind, zero_terminal_snr=True)

    exact, ours = schedule.log_snr(GRID), schedule.log_snr(GRID.float()).double()

    assert_close(ours[:950], exact[:950], rtol=0, atol=2e-4)
    assert_close(torch.sigmoid(ours), torch.sigmoid(exact), rtol=0, atol=1e-6)


def test_the_law_of_a_time_does_not_depend_on_its_batch() -> None:
    schedule = NoiseSchedule("cosine", zero_terminal_snr=True)

    assert schedule.log_snr(torch.ones(1)).item() == -math.inf
    assert_close(schedule.log_snr(torch.full((37,), 0.7)), schedule.log_snr(torch.tensor([0.7])).expand(37))


def test_shift_moves_log_snr() -> None:
    t = torch.tensor([0.1, 0.9])

    assert_close(NoiseSchedule("cosine", 1.5).log_snr(t), NoiseSchedule("cosine").log_snr(t) + 1.5)
