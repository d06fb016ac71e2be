import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.gaussian import Target, alpha_sigma, eps_from_x0, q_sample, target_of, x0_from

TARGETS: tuple[Target, ...] = ("eps", "x0", "v")


def pictures(batch: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x0 = torch.rand(batch, 3, 4, 4, generator=draw) * 2 - 1
    return x0, torch.randn(batch, 3, 4, 4, generator=draw), torch.linspace(-8, 8, batch)


def test_alpha_and_sigma_are_on_the_unit_circle() -> None:
    alpha, sigma = alpha_sigma(torch.linspace(-15, 15, 31))

    assert_close(alpha**2 + sigma**2, torch.ones(31, 1, 1, 1), rtol=0, atol=1e-6)
    assert_close((alpha**2 / sigma**2).log().flatten(), torch.linspace(-15, 15, 31), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_leads_back_to_the_picture(target: Target) -> None:
    x0, eps, log_snr = pictures()
    xt = q_sample(x0, eps, log_snr)

    prediction = target_of(target, x0, eps, log_snr)

    assert_close(x0_from(target, prediction, xt, log_snr), x0, rtol=0, atol=1e-3)


def test_noise_and_picture_determine_each_other() -> None:
    x0, eps, log_snr = pictures()

    assert_close(eps_from_x0(x0, q_sample(x0, eps, log_snr), log_snr), eps, rtol=0, atol=1e-3)


def test_q_sample_at_its_ends_is_picture_and_noise() -> None:
    x0, eps, _ = pictures(1)

    assert_close(q_sample(x0, eps, torch.tensor([30.0])), x0, rtol=0, atol=1e-5)
    assert_close(q_sample(x0, eps, torch.tensor([-30.0])), eps, rtol=0, atol=1e-5)
