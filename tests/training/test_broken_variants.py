"""Eight ways in which diffusion code is often wrong, each built on purpose, and the check that notices it."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from minimagen.config import UNetSection
from minimagen.datasets.captioned import Batch
from minimagen.models.unet import UNet
from minimagen.training.ema import Ema
from minimagen.training.objective import Draws, Objective
from tests.models.checks import (
    check_every_weight_learns,
    check_gradients_are_differences,
    check_the_caption_is_heard,
    check_the_time_is_heard,
)
from tests.models.test_unet import inputs, tiny_unet
from tests.stages.tiny_project import tiny_params
from tests.training.checks import (
    LossUnder,
    check_averages_follow_the_weights,
    check_the_told_time_is_that_of_the_noise,
    check_the_truth_has_no_loss,
)
from tests.training.small import small_network
from tests.training.test_objective import batch_of

TARGETS = ("eps", "x0", "v")


def section_of(target: str) -> UNetSection:
    section = tiny_params().unets["base"]
    return section.model_copy(update={"diffusion": section.diffusion.model_copy(update={"target": target})})


def unchanged(network: Callable[..., torch.Tensor], *told: object, **named: object) -> torch.Tensor:
    return network(*told, **named)


def loss_of(section: UNetSection, change: Callable[..., torch.Tensor] = unchanged) -> LossUnder:
    """Returns the loss of a section; ``change`` stands between it and the network, as a mistake would."""
    objective = Objective(section, torch.device("cpu"))

    def loss_under(network: Callable[..., torch.Tensor], batch: Batch, draws: Draws) -> torch.Tensor:
        return objective.loss_under(lambda xt, t, **told: change(network, xt, t, **told), batch, draws)

    return loss_under


class Deaf(nn.Module):
    """A U-Net to which some of what it is told is always the same."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.unet, self.names = tiny_unet(), names

    def forward(self, **told: torch.Tensor) -> torch.Tensor:
        return self.unet(**(told | {name: torch.ones_like(told[name]) for name in self.names}))


def without_gradient_through_skips() -> UNet:
    unet = tiny_unet()

    def detach(_: nn.Module, given: tuple[torch.Tensor, list[torch.Tensor]]) -> tuple[object, ...]:
        x, skips, *others = given
        return (x, [skip.detach() for skip in skips], *others)

    for up in unet.ups:
        up.register_forward_pre_hook(detach)
    return unet


def with_a_frozen_norm() -> UNet:
    unet = tiny_unet()
    unet.middle1.norm1.requires_grad_(False)
    return unet


def swapped(network: Callable[..., torch.Tensor], xt: torch.Tensor, t: torch.Tensor, **told: object) -> torch.Tensor:
    return network(xt, 1.0 - t, **told)


def negated(network: Callable[..., torch.Tensor], xt: torch.Tensor, t: torch.Tensor, **told: object) -> torch.Tensor:
    return -network(xt, t, **told)


class Off(Ema):
    """Averages that nobody updates."""

    def update(self, parameters: Iterable[nn.Parameter], decay: float) -> None: ...


def in_float64(network: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    wide = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    check_gradients_are_differences(network.double(), wide)


def averages(kind: type[Ema]) -> None:
    network = small_network()
    ema = kind(network)
    check_averages_follow_the_weights(ema, network, lambda decay: ema.update(network.parameters(), decay))


DROPPED = {"is_dropped": torch.tensor([True, False])}


def sound() -> dict[str, Callable[[], None]]:
    """Every check on what it is meant for."""
    checks: dict[str, Callable[[], None]] = {
        "the caption is heard": lambda: check_the_caption_is_heard(tiny_unet(), inputs(2)),
        "the time is heard": lambda: check_the_time_is_heard(tiny_unet(), inputs(2)),
        "gradients are differences": lambda: in_float64(tiny_unet(), inputs(2)),
        "every weight learns": lambda: check_every_weight_learns(tiny_unet(), inputs(2) | DROPPED),
        "averages follow": lambda: averages(Ema),
    }
    for target in TARGETS:
        section = section_of(target)
        checks[f"the truth has no loss, {target}"] = lambda section=section: check_the_truth_has_no_loss(
            loss_of(section), section, batch_of(8)
        )
        checks[f"the told time is that of the noise, {target}"] = lambda section=section: (
            check_the_told_time_is_that_of_the_noise(loss_of(section), section, batch_of(8))
        )
    return checks


BROKEN: dict[str, Callable[[], None]] = {
    "wrong sign": lambda: check_the_truth_has_no_loss(loss_of(section_of("v"), negated), section_of("v"), batch_of(8)),
    "no text": lambda: check_the_caption_is_heard(Deaf("text_embeds"), inputs(2)),
    "no time embedding": lambda: check_the_time_is_heard(Deaf("t"), inputs(2)),
    "detached skip": lambda: in_float64(without_gradient_through_skips(), inputs(2)),
    "wrong target": lambda: check_the_truth_has_no_loss(loss_of(section_of("v")), section_of("eps"), batch_of(8)),
    "frozen norm": lambda: check_every_weight_learns(with_a_frozen_norm(), inputs(2) | DROPPED),
    "swapped timesteps": lambda: check_the_told_time_is_that_of_the_noise(
        loss_of(section_of("v"), swapped), section_of("v"), batch_of(8)
    ),
    "averages off": lambda: averages(Off),
}


@pytest.mark.parametrize("name", sound())
def test_what_is_sound_passes(name: str) -> None:
    sound()[name]()


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_noticed(name: str) -> None:
    with pytest.raises(AssertionError):
        BROKEN[name]()
