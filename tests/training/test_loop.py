"""The loop trains, clips, notices what is not finite before it spoils weights, and depends on (seed, step) alone."""

import math

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.amp.grad_scaler import GradScaler

from minimagen.shapes import PerSample
from minimagen.training.faults import STATE_PARTS, Fault, StateSpoilt, TrainingDiverged
from minimagen.training.loop import StepReport, TrainState, train
from tests.training.saved import assert_same, everything
from tests.training.small import (
    SmallBatch,
    SmallDraws,
    cpu_accelerator,
    small_batch,
    small_config,
    small_loss,
    small_network,
    small_state,
    small_task,
)


def run(
    state: TrainState, num_steps: int, loss=small_loss, scaler: GradScaler | None = None, **changes: object
) -> list[StepReport]:
    config, accelerator = small_config(**changes), cpu_accelerator()
    accelerator.scaler = scaler
    return list(train(state, small_task(config, loss), config=config, num_steps=num_steps, accelerator=accelerator))


def weights_of(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in state.network.named_parameters()}


def assert_equal_states(left: TrainState, right: TrainState) -> None:
    assert left.step == right.step
    for name, value in weights_of(left).items():
        assert torch.equal(value, weights_of(right)[name]), name
        assert torch.equal(left.ema.tensors[name], right.ema.tensors[name]), name


def test_the_loss_falls_and_every_step_is_reported() -> None:
    state = small_state(small_config())

    reports = run(state, 40)

    assert [report.step for report in reports] == list(range(1, 41))
    assert state.step == 40
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert {report.num_images for report in reports} == {8}
    assert not any(report.is_skipped for report in reports)


def test_two_runs_are_equal_bit_for_bit_and_leave_the_global_generator_alone() -> None:
    first, second = (small_state(small_config(), small_network(dropout=0.5)) for _ in range(2))
    before = torch.get_rng_state()

    run(first, 12)
    torch.rand(7)
    run(second, 12)
    torch.set_rng_state(before)
    run(second, 12)

    assert_equal_states(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_and_dropout_differ_from_step_to_step() -> None:
    masks: list[torch.Tensor] = []
    noises: list[torch.Tensor] = []

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        masks.append(nn.functional.dropout(torch.ones(64), 0.5, training=True))
        noises.append(draws.noise)
        return small_loss(network, batch, draws)

    run(small_state(small_config()), 2, loss)

    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(noises[0], noises[1])


def test_a_stop_and_a_continuation_equal_a_straight_run() -> None:
    straight, halted = (small_state(small_config(), small_network(dropout=0.2)) for _ in range(2))

    run(straight, 20)
    config = small_config()
    for report in train(halted, small_task(config), config=config, num_steps=20, accelerator=cpu_accelerator()):
        if report.step == 7:
            break
    run(halted, 20)

    assert_equal_states(straight, halted)


def test_gradients_are_really_clipped() -> None:
    state = small_state(small_config())

    (report,) = run(state, 1, lambda *arguments: 1e4 * small_loss(*arguments), max_grad_norm=0.5)

    gradients = [parameter.grad for parameter in state.network.parameters()]
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None))
    assert report.grad_norm > 100.0
    assert norm == pytest.approx(0.5, rel=1e-4)


def test_small_gradients_are_not_touched() -> None:
    state = small_state(small_config())

    (report,) = run(state, 1, max_grad_norm=1e6)

    gradients = [parameter.grad for parameter in state.network.parameters()]
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None))
    assert report.grad_norm == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
def test_a_loss_that_is_not_sound_changes_nothing_but_the_count_and_names_the_sample(bad: float) -> None:
    state = small_state(small_config())
    run(state, 3)
    before = everything(state)

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        losses = small_loss(network, batch, draws)
        return torch.where(torch.arange(len(losses)) == 2, bad, losses)

    (report,) = run(state, 4, loss)

    culprit = small_batch(3, small_config()).keys[2]
    assert report.fault == Fault("the loss is not finite", (culprit,), is_of_samples=True)
    assert (report.step, state.step) == (4, 4)
    assert_same(everything(state), before)


def test_a_gradient_that_is_not_sound_changes_nothing_but_the_count() -> None:
    state = small_state(small_config())
    run(state, 2)
    before = everything(state)

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        losses = small_loss(network, batch, draws)
        losses.register_hook(lambda gradient: gradient * math.nan)
        return losses

    (report,) = run(state, 3, loss)

    keys = small_batch(2, small_config()).keys
    assert report.fault == Fault("the norm of the gradients is nan", keys, is_of_samples=False)
    assert_same(everything(state), before)


def test_after_a_skipped_step_the_next_one_is_that_of_a_run_without_the_batch() -> None:
    skipped, left_out = small_state(small_config()), small_state(small_config())

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        return math.nan * small_loss(network, batch, draws)

    for state in (skipped, left_out):
        run(state, 3)
    run(skipped, 4, loss)
    left_out.step = 4
    for state in (skipped, left_out):
        run(state, 9)

    assert_same(everything(skipped), everything(left_out))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e38])
@pytest.mark.parametrize("part", STATE_PARTS)
def test_a_spoilt_state_is_met_before_the_update(part: str, bad: float) -> None:
    state = small_state(small_config())
    run(state, 2)
    before = everything(state)
    weight = next(state.network.parameters())
    slots = state.optimizer.state[weight]
    average = state.ema.tensors["0.weight"]
    parts: list[str] = [*STATE_PARTS]
    target = (weight, average, slots["exp_avg"], slots["exp_avg_sq"])[parts.index(part)]
    with torch.no_grad():
        kept = target[1, 1].item()
        target[1, 1] = bad

    with pytest.raises(StateSpoilt, match=f"step 3: the {part} are not finite"):
        run(state, 5)

    with torch.no_grad():
        target[1, 1] = kept
    assert_same(everything(state), before)


def test_an_overflow_at_a_high_loss_scale_skips_the_step_and_halves_the_scale() -> None:
    state, scaler = small_state(small_config()), GradScaler("cpu", init_scale=2.0**127)
    before = weights_of(state)

    reports = run(state, 40, lambda *arguments: 1e3 * small_loss(*arguments), scaler)

    assert reports[0].is_skipped and not math.isfinite(reports[0].grad_norm)
    assert not reports[-1].is_skipped and math.isfinite(reports[-1].grad_norm)
    assert scaler.get_scale() == 2.0 ** (127 - sum(report.is_skipped for report in reports))
    assert any(not torch.equal(value, before[name]) for name, value in weights_of(state).items())
    assert all(value.isfinite().all() for value in weights_of(state).values())


def test_a_loss_scale_changes_gradients_by_rounding_alone() -> None:
    scaled, plain = small_state(small_config()), small_state(small_config())

    with_scale = run(scaled, 10, scaler=GradScaler("cpu", init_scale=1024.0))

    for left, right in zip(with_scale, run(plain, 10), strict=True):
        assert left.grad_norm == pytest.approx(right.grad_norm, rel=1e-4)


def test_gradients_that_overflow_at_every_scale_stop_the_training() -> None:
    state = small_state(small_config())

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        losses = small_loss(network, batch, draws)
        losses.register_hook(lambda gradient: gradient * math.nan)
        return losses

    with pytest.raises(TrainingDiverged, match="step 2: gradients overflow even at a loss scale below 1"):
        run(state, 5, loss, scaler=GradScaler("cpu", init_scale=2.0))


def test_bf16_computes_in_bf16_and_keeps_fp32_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = fresh_accelerator(monkeypatch, "bf16")
    state, config, seen = small_state(small_config()), small_config(), set[torch.dtype]()

    def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
        seen.add(network(batch.samples).dtype)
        return small_loss(network, batch, draws)

    list(train(state, small_task(config, loss), config=config, num_steps=3, accelerator=accelerator))

    assert seen == {torch.bfloat16}
    assert {value.dtype for value in [*weights_of(state).values(), *state.ema.tensors.values()]} == {torch.float32}


def fresh_accelerator(monkeypatch: pytest.MonkeyPatch, precision: str) -> Accelerator:
    """Returns an accelerator of another precision: accelerate keeps one precision for a whole process."""
    from accelerate.state import AcceleratorState, PartialState

    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    monkeypatch.setattr(PartialState, "_shared_state", {})
    return Accelerator(cpu=True, mixed_precision=precision)
