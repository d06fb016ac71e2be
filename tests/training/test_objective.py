"""The loss of a batch follows the parameters, is the mean of its samples', and a real U-Net learns by it."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from minimagen.config import UNetSection
from minimagen.datasets.captioned import Batch
from minimagen.diffusion.cascade import resize
from minimagen.diffusion.gaussian import Target
from minimagen.diffusion.loss import min_snr_weight
from minimagen.models.unet import UNet
from minimagen.seeding import generator
from minimagen.training.ema import Ema
from minimagen.training.loop import Task, TrainState, train
from minimagen.training.objective import Objective
from minimagen.training.optimizer import build_optimizer
from tests.stages.tiny_project import tiny_params

CPU = torch.device("cpu")
TEXT_DIM = 6


def section_of(name: str, **diffusion: object) -> UNetSection:
    section = tiny_params().unets[name]
    return section.model_copy(update={"diffusion": section.diffusion.model_copy(update=diffusion)})


def batch_of(size: int, count: int = 8) -> Batch:
    source = generator("pictures")
    return Batch(
        images=torch.rand(count, 3, size, size, generator=source) * 2 - 1,
        text_embeds=torch.randn(count, 5, TEXT_DIM, generator=source),
        text_mask=torch.arange(5).expand(count, 5) < 3,
        keys=tuple(f"key-{number}" for number in range(count)),
    )


class Recorder(nn.Module):
    """A network that predicts zeros and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, torch.Tensor | None] = {}

    def forward(self, xt: torch.Tensor, t: torch.Tensor, **conditioning: torch.Tensor | None) -> torch.Tensor:
        self.told = {"xt": xt, "t": t, **conditioning}
        return torch.zeros_like(xt)


def test_the_loss_of_predicting_zero_is_the_weighted_power_of_the_target() -> None:
    objective = Objective(section_of("base", target="eps", weighting="uniform"), CPU)
    draws = objective.draw(8, generator(1))

    losses = objective.loss_under(Recorder(), batch_of(8), draws)

    torch.testing.assert_close(losses, draws.eps.square().mean(dim=(1, 2, 3)))


def test_the_weight_by_noise_level_is_applied() -> None:
    uniform, weighted = (
        Objective(section_of("base", target="v", weighting=kind), CPU) for kind in ("uniform", "min_snr")
    )
    draws = uniform.draw(8, generator(1))
    log_snr = uniform.denoiser(Recorder()).schedule.log_snr(draws.t)

    plain, weighed = (each.loss_under(Recorder(), batch_of(8), draws) for each in (uniform, weighted))

    torch.testing.assert_close(weighed, plain * min_snr_weight(log_snr, "v", 5.0))
    assert not torch.allclose(weighed, plain)


def test_the_network_is_told_whose_caption_is_dropped() -> None:
    network, objective = Recorder(), Objective(section_of("base", cond_drop_prob=0.5), CPU)
    draws = objective.draw(8, generator(1))

    objective.loss_under(network, batch_of(8), draws)

    assert network.told["is_dropped"] is draws.is_dropped and 0 < draws.is_dropped.sum() < 8


def test_times_are_spread_evenly_over_the_batch() -> None:
    objective = Objective(section_of("base"), CPU)

    times = objective.draw(16, generator(2)).t.sort().values

    torch.testing.assert_close(times.diff(), torch.full((15,), 1 / 16), rtol=1e-4, atol=1e-6)
    assert 0.0 <= times[0] < 1 / 16


def test_captions_are_dropped_as_often_as_the_parameters_say() -> None:
    objective = Objective(section_of("base", cond_drop_prob=0.25), CPU)

    is_dropped = torch.cat([objective.draw(64, generator(number)).is_dropped for number in range(150)])

    # 9600 draws: six standard deviations are 0.027, a false alarm in 5e8.
    assert is_dropped.float().mean().item() == pytest.approx(0.25, abs=0.027)


def test_a_base_network_gets_no_starting_picture() -> None:
    network = Recorder()
    Objective(section_of("base"), CPU).loss(network, batch_of(8), generator(3))

    assert network.told["low_res"] is None and network.told["low_res_level"] is None
    with pytest.raises(ValueError, match="low_res_size is null"):
        Objective(section_of("base"), CPU).low_res(batch_of(8).images)


def test_a_super_resolution_network_starts_from_the_shrunk_picture() -> None:
    network, batch = Recorder(), batch_of(16)
    objective = Objective(section_of("super", max_aug_level=0.0), CPU)

    objective.loss(network, batch, generator(4))

    low_res = network.told["low_res"]
    assert low_res is not None
    # Time 0 of the noise law still has a log-SNR of 15, that is noise of 5.5e-4.
    torch.testing.assert_close(low_res, resize(resize(batch.images, 8), 16), rtol=0, atol=4e-3)


def test_augmentation_levels_are_drawn_for_each_sample_up_to_the_limit() -> None:
    network = Recorder()
    Objective(section_of("super", max_aug_level=0.4), CPU).loss(network, batch_of(16, 64), generator(5))

    levels = network.told["low_res_level"]
    assert levels is not None and len(levels.unique()) == 64
    assert 0.0 <= levels.min() < 0.1 and 0.3 < levels.max() <= 0.4


@pytest.mark.parametrize("name", ["base", "super"])
def test_a_batch_has_the_losses_of_its_samples(name: str) -> None:
    section = section_of(name)
    objective, batch = Objective(section, CPU), batch_of(section.image_size, 5)
    network = learned(section)
    draws = objective.draw(5, generator(6))

    together = objective.loss_under(network, batch, draws)

    for number in range(5):
        chosen = slice(number, number + 1)
        single = Batch(batch.images[chosen], batch.text_embeds[chosen], batch.text_mask[chosen], batch.keys[chosen])
        alone = objective.loss_under(network, single, draws.part(chosen))
        torch.testing.assert_close(alone, together[chosen], rtol=1e-4, atol=1e-6)


def test_equal_generators_give_equal_losses() -> None:
    objective, network = Objective(section_of("base"), CPU), learned(section_of("base"))

    losses = [objective.loss(network, batch_of(8), generator(seed)) for seed in (7, 7, 8)]

    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


def learned(section: UNetSection) -> UNet:
    """Returns a U-Net that does not predict zero, as a new one does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(section.unet, text_dim=TEXT_DIM, has_low_res=section.low_res_size is not None)
        nn.init.normal_(network.last.weight, std=0.1)
    return network


@pytest.mark.parametrize(
    ("name", "target", "num_steps"),
    [
        ("base", "x0", 120),
        pytest.param("base", "eps", 120, marks=pytest.mark.long),
        pytest.param("base", "v", 120, marks=pytest.mark.long),
        pytest.param("super", "x0", 200, marks=pytest.mark.long),
    ],
)
def test_a_new_u_net_overfits_eight_pictures_to_two_percent_of_the_first_loss(
    name: str, target: Target, num_steps: int
) -> None:
    section = section_of(name, target=target)
    config = section.training.model_copy(update={"learning_rate": 1e-2, "warmup_steps": 10, "batch_size": 8})
    objective, batch = Objective(section, CPU), batch_of(section.image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(section.unet, text_dim=TEXT_DIM, has_low_res=section.low_res_size is not None)
    fixed = objective.draw(8, generator("fixed"))

    steps = train(
        TrainState(network, build_optimizer(network, config), Ema(network)),
        Task(lambda step, positions: batch, lambda num_samples, source: fixed, objective.loss_under),
        config=config,
        num_steps=num_steps,
        accelerator=Accelerator(cpu=True, mixed_precision="no"),
    )
    losses = [report.loss for report in steps]

    assert losses[-1] < 0.02 * losses[0]
