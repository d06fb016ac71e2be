import math

import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.denoiser import Denoiser, Network
from minimagen.diffusion.gaussian import Target, eps_from_x0, q_sample, target_of, v_from_x0
from minimagen.diffusion.loss import denoising_loss, loss_weight, min_snr_weight
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning

SCHEDULE = NoiseSchedule("cosine")
CAPTION = Conditioning(torch.zeros(4, 1, 2), torch.ones(4, 1, dtype=torch.bool))
TARGETS: tuple[Target, ...] = ("eps", "x0", "v")


def constant_network(value: float) -> Network:
    def network(xt: torch.Tensor, t: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.full_like(xt, value)

    return network


@pytest.mark.parametrize("log_snr", [-6.0, 0.0, 1.0, 6.0])
def test_all_min_snr_forms_weigh_the_picture_error_alike(log_snr: float) -> None:
    at = torch.tensor([log_snr], dtype=torch.float64)
    snr = at.exp()

    as_x0 = min_snr_weight(at, "x0", 5.0)

    # d eps / d x0 = sqrt(snr), d v / d x0 = sqrt(snr + 1) at a fixed x_t
    assert_close(min_snr_weight(at, "eps", 5.0) * snr, as_x0)
    assert_close(min_snr_weight(at, "v", 5.0) * (snr + 1), as_x0)
    assert_close(as_x0, snr.clamp(max=5.0))


def test_one_guess_of_the_picture_costs_the_same_whatever_the_target() -> None:
    """A network that guesses a picture and says it as noise, picture or velocity has one loss under min-SNR weights."""
    draw = torch.Generator().manual_seed(0)
    x0, eps, guess = (torch.randn(4, 3, 2, 2, generator=draw, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([0.1, 0.3, 0.6, 0.9], dtype=torch.float64)
    log_snr = SCHEDULE.log_snr(t)
    xt = q_sample(x0, eps, log_snr)
    said = {"eps": eps_from_x0(guess, xt, log_snr), "x0": guess, "v": v_from_x0(guess, xt, log_snr)}

    def loss(target: Target) -> torch.Tensor:
        denoiser = Denoiser(lambda xt, t, **_: said[target], SCHEDULE, target)  # pyright: ignore[reportArgumentType]
        return denoising_loss(denoiser, x0, eps, t, CAPTION, None, weighting="min_snr", gamma=5.0).weighted

    wanted = log_snr.exp().clamp(max=5.0) * (guess - x0).square().mean((1, 2, 3))
    for target in TARGETS:
        assert_close(loss(target).double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_finite_where_no_signal_and_where_no_noise_is_left(target: Target) -> None:
    ends = torch.tensor([-math.inf, 80.0])

    weights = min_snr_weight(ends, target, 5.0)

    assert_close(weights, torch.tensor([1.0, 0.0] if target == "eps" else [0.0, 5.0 if target == "x0" else 0.0]))
    assert_close(loss_weight(ends, target, "uniform", 5.0), torch.ones(2))


@pytest.mark.parametrize("target", ["x0", "v"])
@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_the_loss_is_finite_where_no_signal_is_left(target: str, weighting: str) -> None:
    schedule = NoiseSchedule("linear", zero_terminal_snr=True)
    denoiser = Denoiser(constant_network(0.3), schedule, target)  # pyright: ignore[reportArgumentType]
    x0, eps, t = torch.ones(4, 3, 2, 2), torch.zeros(4, 3, 2, 2), torch.ones(4)

    report = denoising_loss(denoiser, x0, eps, t, CAPTION, None, weighting=weighting, gamma=5.0)  # pyright: ignore

    assert report.weighted.isfinite().all()
    assert_close(report.unweighted, torch.full((4,), 0.49 if target == "x0" else 1.69))


@pytest.mark.parametrize("target", TARGETS)
def test_loss_is_the_mean_squared_error_to_the_target(target: Target) -> None:
    draw = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(4, 3, 2, 2, generator=draw), torch.randn(4, 3, 2, 2, generator=draw)
    t = torch.tensor([0.1, 0.4, 0.7, 0.9])
    denoiser = Denoiser(constant_network(0.3), SCHEDULE, target)

    report = denoising_loss(denoiser, x0, eps, t, CAPTION, None, weighting="uniform", gamma=5.0)

    wanted = target_of(target, x0, eps, SCHEDULE.log_snr(t))
    assert_close(report.unweighted, (wanted - 0.3).square().flatten(1).mean(1))
    assert_close(report.weighted, report.unweighted)


def test_the_network_sees_the_noisy_picture_and_its_conditioning() -> None:
    seen: dict[str, object] = {}

    def network(xt: torch.Tensor, t: torch.Tensor, **conditioning: object) -> torch.Tensor:
        seen.update(xt=xt, t=t, **conditioning)
        return xt

    x0, eps, t = torch.ones(4, 3, 2, 2), torch.zeros(4, 3, 2, 2), torch.full((4,), 0.5)
    dropped = torch.tensor([True, False, False, True])

    denoising_loss(Denoiser(network, SCHEDULE, "v"), x0, eps, t, CAPTION, dropped, weighting="min_snr", gamma=5.0)

    assert_close(seen["xt"], q_sample(x0, eps, SCHEDULE.log_snr(t)))
    assert seen["is_dropped"] is dropped
    assert seen["text_embeds"] is CAPTION.text_embeds
