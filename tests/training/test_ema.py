"""Averages are their closed form, in fp32, and computing with them leaves the network alone."""

import sys
from contextlib import suppress

import pytest
import torch
from torch import nn

from minimagen.training.ema import Ema, decay_at
from minimagen.training.interrupt import Stopped
from minimagen.training.loop import train
from tests.training.small import cpu_accelerator, small_config, small_network, small_state, small_task


def test_the_average_of_a_moving_weight_is_the_geometric_sum() -> None:
    network = nn.Linear(1, 1, bias=False)
    values = [0.5, -1.0, 2.0, 0.25, 3.0]
    nn.init.constant_(network.weight, values[0])
    ema = Ema(network)

    for value in values[1:]:
        nn.init.constant_(network.weight, value)
        ema.update(network.parameters(), 0.9)

    weights = [0.9**4, *(0.1 * 0.9 ** (4 - k) for k in range(1, 5))]
    expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
    torch.testing.assert_close(ema.tensors["weight"].item(), expected, rtol=1e-6, atol=1e-6)


def test_a_bf16_network_has_an_fp32_average_that_moves() -> None:
    network = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    nn.init.constant_(network.weight, 1.0)
    ema = Ema(network)
    nn.init.constant_(network.weight, 2.0)

    for _ in range(200):
        ema.update(network.parameters(), 0.9999)

    assert ema.tensors["weight"].dtype == torch.float32
    assert ema.tensors["weight"].item() == pytest.approx(2.0 - 0.9999**200, rel=1e-4)


def test_the_decay_warms_up_to_its_limit() -> None:
    assert decay_at(1, 0.999) == pytest.approx(2 / 11)
    assert decay_at(80, 0.999) == pytest.approx(81 / 90)
    assert decay_at(100_000, 0.999) == 0.999
    assert decay_at(5, 0.0) == 0.0


@pytest.mark.parametrize("ema_decay", [0.0, 0.4, 0.9])
def test_the_averages_are_the_recursion_over_the_weights_after_each_step(ema_decay: float) -> None:
    """average_k = d_k average_(k-1) + (1 - d_k) weight_k from the first weights on; 0.4 is reached at step 5."""
    config = small_config(ema_decay=ema_decay)
    state = small_state(config)
    expected = {name: value.detach().double() for name, value in state.network.named_parameters()}

    for report in train(state, small_task(config), config=config, num_steps=12, accelerator=cpu_accelerator()):
        decay = decay_at(report.step, ema_decay)
        for name, value in state.network.named_parameters():
            expected[name] = decay * expected[name] + (1.0 - decay) * value.detach().double()
            average = state.ema.tensors[name].double()
            torch.testing.assert_close(average, expected[name], rtol=0, atol=1e-6, msg=name)

    assert state.step == 12


def test_a_decay_of_zero_copies_the_weights() -> None:
    network = small_network()
    ema = Ema(network)
    nn.init.ones_(next(network.parameters()))

    ema.update(network.parameters(), 0.0)

    for name, value in network.named_parameters():
        torch.testing.assert_close(ema.tensors[name], value.detach(), rtol=0, atol=0)


def test_computing_with_averages_equals_a_network_that_holds_them() -> None:
    network, twin = small_network().eval(), small_network().eval()
    ema = Ema(network)
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    changed = network(inputs)

    averaged = ema.network(inputs)

    torch.testing.assert_close(averaged, twin(inputs), rtol=0, atol=0)
    torch.testing.assert_close(network(inputs), changed, rtol=0, atol=0)


def test_the_network_of_the_averages_follows_them() -> None:
    network = nn.Linear(1, 1, bias=False)
    ema, one = Ema(network), torch.ones(1, 1)
    nn.init.constant_(network.weight, 2.0)

    ema.update(network.parameters(), 0.0)
    updated = ema.network(one).item()
    ema.load({"weight": torch.full((1, 1), 3.0)})

    assert (updated, ema.network(one).item()) == (2.0, 3.0)
    assert not ema.network.training and not any(weight.requires_grad for weight in ema.network.parameters())


def test_stopped_at_any_instant_computing_with_averages_leaves_the_network_whole() -> None:
    network = small_network()
    ema, inputs = Ema(network), torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    nn.init.ones_(next(network.parameters()))
    parts, values = _parts(network), [weight.detach().clone() for weight in network.parameters()]

    num_instants = _computed_until(ema, inputs, None)

    for instant in range(1, num_instants):
        assert _computed_until(ema, inputs, instant) == instant
        assert _parts(network) == parts
        for weight, value in zip(network.parameters(), values, strict=True):
            torch.testing.assert_close(weight.detach(), value, rtol=0, atol=0)


def _parts(network: nn.Module) -> list[tuple[str, int, bool]]:
    """Returns which objects a network's weights are, and whether they are trained."""
    return [(name, id(weight), network.training) for name, weight in network.named_parameters()]


def _computed_until(ema: Ema, inputs: torch.Tensor, instant: int | None) -> int:
    """Computes with the averages, as if a signal came at a call or return; returns how many there were until then."""
    num_seen = 0

    def stop(*_: object) -> None:
        nonlocal num_seen
        num_seen += 1
        if num_seen == instant:
            raise Stopped(143)

    with suppress(Stopped):
        sys.setprofile(stop)
        try:
            ema.network(inputs)
        finally:
            sys.setprofile(None)
    return num_seen


def test_averages_have_the_layout_of_their_weights() -> None:
    network = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    assert Ema(network).tensors["weight"].is_contiguous(memory_format=torch.channels_last)


def test_a_network_with_buffers_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="running_mean"):
        Ema(nn.BatchNorm1d(3))
