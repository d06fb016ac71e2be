"""What has to hold of a loss and of a training, as functions: tests of sound and of broken ones call them.

Each raises AssertionError. The formulas are written out here once more, on purpose.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.testing import assert_close

from minimagen.config import UNetSection
from minimagen.datasets.captioned import Batch
from minimagen.seeding import generator
from minimagen.training.ema import Ema
from minimagen.training.objective import Draws, Objective, schedule_of

LossUnder = Callable[[Callable[..., torch.Tensor], Batch, Draws], torch.Tensor]


class Oracle:
    """A network that knows picture and noise, and answers with the very target that the parameters name."""

    def __init__(self, section: UNetSection, batch: Batch, draws: Draws) -> None:
        log_snr = schedule_of(section.diffusion).log_snr(draws.t)[:, None, None, None]
        alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        x0, eps = batch.images, draws.eps
        self._answer = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0}[section.diffusion.target]
        self.told: dict[str, torch.Tensor] = {}

    def __call__(self, xt: torch.Tensor, t: torch.Tensor, **_: object) -> torch.Tensor:
        self.told = {"xt": xt, "t": t}
        return self._answer


def check_the_truth_has_no_loss(loss_under: LossUnder, section: UNetSection, batch: Batch) -> None:
    """Who predicts the target that sampling takes the prediction for has no loss."""
    draws = Objective(section, torch.device("cpu")).draw(len(batch.keys), generator("truth"))

    losses = loss_under(Oracle(section, batch, draws), batch, draws)

    assert_close(losses, torch.zeros_like(losses), rtol=0, atol=1e-6)


def check_the_told_time_is_that_of_the_noise(loss_under: LossUnder, section: UNetSection, batch: Batch) -> None:
    """On black pictures, what the network sees is noise of the strength that belongs to the time it is told."""
    draws = Objective(section, torch.device("cpu")).draw(len(batch.keys), generator("times"))
    black = Batch(torch.zeros_like(batch.images), batch.text_embeds, batch.text_mask, batch.keys)
    network = Oracle(section, black, draws)

    loss_under(network, black, draws)

    sigma = (-schedule_of(section.diffusion).log_snr(network.told["t"])).sigmoid().sqrt()
    found = (network.told["xt"] * draws.eps).mean(dim=(1, 2, 3)) / draws.eps.square().mean(dim=(1, 2, 3))
    assert_close(found, sigma, rtol=1e-4, atol=1e-5)


def check_averages_follow_the_weights(ema: Ema, network: nn.Module, update: Callable[[float], None]) -> None:
    """After each update the average is d average + (1 - d) weight, written out."""
    expected = {name: value.clone() for name, value in ema.tensors.items()}
    for decay in (0.9, 0.5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 1.0
        update(decay)
        for name, parameter in network.named_parameters():
            expected[name] = decay * expected[name] + (1.0 - decay) * parameter.detach()
            assert_close(ema.tensors[name], expected[name], rtol=1e-5, atol=1e-6)
