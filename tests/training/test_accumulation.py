"""A batch cut into parts, for memory or for processes, trains as the whole one does."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.testing import assert_close

from minimagen.config import ConfigError
from minimagen.shapes import PerSample
from minimagen.training.loop import StepReport, TrainState, train
from minimagen.training.ranks import Ranks
from tests.training.small import (
    PLAIN,
    SmallBatch,
    SmallDraws,
    cpu_accelerator,
    small_config,
    small_loss,
    small_state,
    small_task,
)


class OneOf:
    """An accelerator as far as the division of work asks for it."""

    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index, self.num_processes = process_index, num_processes


def one_of(process_index: int, num_processes: int) -> Ranks:
    accelerator = cpu_accelerator()
    accelerator.state = OneOf(process_index, num_processes)  # pyright: ignore[reportAttributeAccessIssue]
    return Ranks(accelerator)


def run(accumulate: int, loss=small_loss, num_steps: int = 10) -> tuple[TrainState, list[StepReport]]:
    config = small_config(execution=PLAIN.model_copy(update={"accumulate": accumulate}))
    state = small_state(config)
    steps = train(
        state, small_task(config, loss), config=config, num_steps=num_steps, accelerator=Accelerator(cpu=True)
    )
    return state, list(steps)


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_parts_one_after_another_give_the_step_of_the_whole_batch(accumulate: int) -> None:
    whole, whole_reports = run(1)

    parts, reports = run(accumulate)

    for left, right in zip(reports, whole_reports, strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
        assert left.grad_norm == pytest.approx(right.grad_norm, rel=1e-5)
        assert left.num_images == right.num_images == 8
    for name, value in parts.network.named_parameters():
        assert_close(value, dict(whole.network.named_parameters())[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_sample_keeps_its_noise_however_the_batch_is_cut() -> None:
    def noise_with(accumulate: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def loss(network: nn.Module, batch: SmallBatch, draws: SmallDraws) -> PerSample:
            seen.append(draws.noise)
            return small_loss(network, batch, draws)

        run(accumulate, loss, num_steps=1)
        return torch.cat(seen)

    assert torch.equal(noise_with(1), noise_with(3))


@pytest.mark.parametrize(("batch_size", "num_processes", "accumulate"), [(8, 1, 1), (5, 2, 2), (7, 3, 2), (64, 4, 16)])
def test_every_sample_is_in_one_part_of_one_process_and_parts_are_of_like_size(
    batch_size: int, num_processes: int, accumulate: int
) -> None:
    parts = [
        part for index in range(num_processes) for part in one_of(index, num_processes).parts(batch_size, accumulate)
    ]

    positions = [position for part in parts for position in range(batch_size)[part]]
    sizes = [part.stop - part.start for part in parts]
    assert positions == list(range(batch_size))
    assert len(parts) == num_processes * accumulate and max(sizes) - min(sizes) <= 2 and min(sizes) >= 1


def test_more_parts_than_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size 5 is less than 6: 3 processes with execution\.accumulate 2"):
        one_of(1, 3).parts(5, 2)
