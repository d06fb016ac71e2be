import math

import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.schedule import NoiseSchedule


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_log_snr_falls_from_clean_to_noise(kind: str) -> None:
    log_snr = NoiseSchedule(kind).log_snr(torch.linspace(0, 1, 101))  # pyright: ignore[reportArgumentType]

    assert (log_snr.diff() < 0).all()
    assert log_snr[0] > 9
    assert log_snr[-1] < -9


def test_cosine_is_the_squared_cosine_of_time_away_from_its_ends() -> None:
    t = torch.tensor([0.25, 0.5, 0.75])

    alpha_bar = torch.sigmoid(NoiseSchedule("cosine").log_snr(t))

    assert_close(alpha_bar, torch.cos(t * math.pi / 2) ** 2, rtol=0, atol=1e-3)


def test_linear_equals_the_product_of_a_thousand_ddpm_steps() -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - beta, dim=0)
    steps = torch.tensor([99, 499, 899, 999])

    ours = torch.sigmoid(NoiseSchedule("linear").log_snr((steps + 1) / 1000))

    assert_close(ours.double(), alpha_bar[steps], rtol=0.09, atol=1e-5)


def test_shift_moves_log_snr() -> None:
    t = torch.tensor([0.1, 0.9])

    assert_close(NoiseSchedule("cosine", 1.5).log_snr(t), NoiseSchedule("cosine").log_snr(t) + 1.5)
