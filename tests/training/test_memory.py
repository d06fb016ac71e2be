"""A training that cannot fit is refused with the numbers, by an estimate that real trainings keep to."""

from pathlib import Path

import pytest
import torch

from minimagen.config import ConfigError
from minimagen.experiments import load_experiment
from minimagen.training.memory import GIB, check_memory, check_room_to_save, count_parameters, memory_need
from tests.stages.tiny_project import CHECKOUT, tiny_params

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LARGE = load_experiment(Path(CHECKOUT), "paper-512").params.unets["base"]


def test_every_parameter_needs_five_numbers_and_on_the_cpu_room_to_save_three() -> None:
    assert memory_need(10**9, CUDA).total_bytes == 20 * 10**9 + GIB // 2
    assert memory_need(10**9, CPU).total_bytes == 32 * 10**9 + GIB // 2


def test_parameters_are_counted_without_allocating_them() -> None:
    assert count_parameters(LARGE, text_dim=768) == 1_618_466_051


def test_what_does_not_fit_is_one_line_with_unet_need_and_what_there_is() -> None:
    with pytest.raises(ConfigError) as caught:
        check_memory("base", LARGE, CPU, 21 * GIB)

    assert str(caught.value) == (
        "params.yaml: unets.base: its training needs 48.7 GiB of cpu memory (30.1 GiB for weights, gradients, moments "
        "and averages, 18.1 GiB to save them, 0.5 GiB for the rest), 21.0 GiB are available: choose a smaller "
        "unet.dim, or a larger machine"
    )


def test_processes_on_one_cpu_share_its_memory_and_one_of_them_saves() -> None:
    with pytest.raises(
        ConfigError, match=r"79\.4 GiB of cpu memory \(60\.3 GiB .* in 2 processes, 18\.1 GiB .* 1\.0 GiB"
    ):
        check_memory("base", LARGE, CPU, 60 * GIB, num_processes=2)


def test_a_gpu_does_not_need_room_to_save_but_the_machine_beside_it_does() -> None:
    with pytest.raises(ConfigError, match=r"needs 30\.6 GiB of cuda memory \(30\.1 GiB for [a-z, ]+, 0\.5 GiB for"):
        check_memory("base", LARGE, CUDA, 21 * GIB)
    with pytest.raises(
        ConfigError, match=r"saving its training needs 18\.1 GiB of the machine's memory .* 16\.0 GiB are"
    ):
        check_room_to_save("base", LARGE, 16 * GIB)
    check_room_to_save("base", LARGE, 19 * GIB)
    check_room_to_save("base", LARGE, None)


@pytest.mark.parametrize("available", [49 * GIB, None])
def test_what_fits_or_what_nobody_knows_is_let_through(available: int | None) -> None:
    check_memory("base", LARGE, CPU, available)


def test_the_width_of_the_encoder_hardly_counts() -> None:
    section = tiny_params().unets["base"]
    widths = [count_parameters(section, text_dim=width) for width in (1, 768)]

    assert widths[1] - widths[0] == 767 * 8  # the one layer that reads token vectors, cond_dim 8
