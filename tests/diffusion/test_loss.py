import pytest
import torch
from torch.testing import assert_close

from minimagen.diffusion.denoiser import Denoiser, Network
from minimagen.diffusion.gaussian import q_sample, target_of
from minimagen.diffusion.loss import denoising_loss, min_snr_weight
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.shapes import Conditioning

SCHEDULE = NoiseSchedule("cosine")
CAPTION = Conditioning(torch.zeros(4, 1, 2), torch.ones(4, 1, dtype=torch.bool))


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


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_loss_is_the_mean_squared_error_to_the_target(target: str) -> None:
    draw = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(4, 3, 2, 2, generator=draw), torch.randn(4, 3, 2, 2, generator=draw)
    t = torch.tensor([0.1, 0.4, 0.7, 0.9])
    denoiser = Denoiser(constant_network(0.3), SCHEDULE, target)  # pyright: ignore[reportArgumentType]

    report = denoising_loss(denoiser, x0, eps, t, CAPTION, None, weighting="uniform", gamma=5.0)

    wanted = target_of(target, x0, eps, SCHEDULE.log_snr(t))  # pyright: ignore[reportArgumentType]
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
