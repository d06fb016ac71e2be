"""The learning rate is its closed form; AdamW is what torch's plain loop computes."""

import math

import pytest
import torch
from torch import nn

from minimagen.training.optimizer import (
    build_optimizer,
    count_steps,
    learning_rate_at,
    set_learning_rate,
    step_of_epoch,
)
from tests.training.small import small_config, small_network


def test_the_rate_rises_linearly_to_the_peak() -> None:
    config = small_config(warmup_steps=5, learning_rate=1.0)

    rates = [learning_rate_at(step, config, 100) for step in range(5)]

    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_decay_is_its_closed_form_and_ends_at_one_percent() -> None:
    config = small_config(warmup_steps=10, learning_rate=2.0, decay="cosine")

    assert learning_rate_at(10, config, 111) == 2.0
    assert learning_rate_at(60, config, 111) == pytest.approx(2.0 * (0.01 + 0.99 * 0.5))
    assert learning_rate_at(35, config, 111) == pytest.approx(2.0 * (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2))
    assert learning_rate_at(110, config, 111) == pytest.approx(0.02)


def test_a_constant_rate_stays_at_the_peak() -> None:
    config = small_config(warmup_steps=0, learning_rate=0.5, decay="constant")

    assert {learning_rate_at(step, config, 50) for step in range(50)} == {0.5}


@pytest.mark.parametrize("num_steps", [1, 2, 4, 5])
def test_trainings_no_longer_than_their_warmup_have_positive_rates(num_steps: int) -> None:
    config = small_config(warmup_steps=4, learning_rate=1.0, decay="cosine")

    assert all(0.0 < learning_rate_at(step, config, num_steps) <= 1.0 for step in range(num_steps))


def test_epochs_are_counted_in_samples_not_in_whole_batches() -> None:
    config = small_config(num_steps=None, num_epochs=3, batch_size=8)

    assert count_steps(config, 100) == math.ceil(300 / 8)
    assert count_steps(small_config(num_steps=7), 100) == 7
    assert step_of_epoch(1, 8, 5) == 1


def test_one_step_is_adamw_written_out() -> None:
    config = small_config(weight_decay=0.1, learning_rate=0.01)
    network = small_network()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = build_optimizer(network, config)
    network(torch.ones(2, 6)).square().sum().backward()

    optimizer.step()

    for name, value in network.named_parameters():
        assert value.grad is not None
        decayed = before[name] * (1 - 0.01 * (0.1 if value.ndim > 1 else 0.0))
        expected = decayed - 0.01 * value.grad / (value.grad.abs() + 1e-8)  # the bias-corrected first step
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("beta2", [0.99, 0.999])
def test_squared_gradients_are_averaged_as_the_parameters_say(beta2: float) -> None:
    gain = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    network = nn.ParameterList([gain])
    optimizer = build_optimizer(network, small_config(adam_beta2=beta2, learning_rate=0.01))

    for gradient in (1.0, 3.0):
        gain.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()

    # Adam (Kingma & Ba 2015, algorithm 1) of two steps, the first of which moves by the rate.
    mean = 0.1 * (0.9 * 1.0 + 3.0) / (1 - 0.9**2)
    square = (1 - beta2) * (beta2 * 1.0 + 9.0) / (1 - beta2**2)
    assert gain.item() == pytest.approx(-0.01 - 0.01 * mean / math.sqrt(square), rel=1e-6)


def test_all_weights_are_moved_by_the_fused_kernel() -> None:
    optimizer = build_optimizer(small_network(), small_config())

    assert [group["fused"] for group in optimizer.param_groups] == [True, True]


def test_every_weight_is_in_exactly_one_group() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(8, 8), nn.Linear(4, 4))
    optimizer = build_optimizer(network, small_config())

    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]

    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())
    set_learning_rate(optimizer, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
