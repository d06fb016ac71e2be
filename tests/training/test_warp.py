"""Warped pictures lie where the numbers say, what is not warped is untouched, and the network is told."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import shift
from torch.testing import assert_close

from minimagen.seeding import generator
from minimagen.training.objective import Objective
from minimagen.training.warp import Warped, draw_warps, warp_pictures
from tests.training.test_objective import CPU, Recorder, batch_of, section_of

SIDE = 32


def numbers(zoom: float = 0.0, stretch: float = 0.0, right: float = 0.0, down: float = 0.0) -> torch.Tensor:
    return torch.tensor([[zoom, stretch, right, down]])


def blob(row: float, column: float, height: float, width: float) -> torch.Tensor:
    """A smooth spot as a picture: its centre and its standard deviations in pixels."""
    rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    spot = torch.exp(-(((rows - row) / height) ** 2 + ((columns - column) / width) ** 2) / 2)
    return spot.expand(1, 3, SIDE, SIDE)


def test_a_shift_by_whole_pixels_moves_every_pixel() -> None:
    picture = torch.rand(1, 3, SIDE, SIDE, generator=generator("picture")) * 2 - 1

    moved = warp_pictures(picture, numbers(right=1.0, down=-0.5))  # 4 pixels right, 2 up

    assert_close(moved[..., :-2, 4:], picture[..., 2:, :-4], rtol=0, atol=1e-5)
    mirrored = shift(picture[0, 0].numpy(), (-2, 4), order=0, mode="reflect")
    np.testing.assert_allclose(moved[0, 0].numpy(), mirrored, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("warp", "expected"),
    [
        (numbers(zoom=5.0), blob(16, 16, 4, 4)),  # twice as large
        (numbers(zoom=-5.0), blob(16, 16, 1, 1)),
        (numbers(stretch=5.0), blob(16, 16, 2 * math.sqrt(0.5), 2 * math.sqrt(2.0))),  # twice as wide for its height
        (numbers(zoom=5.0, right=1.0, down=0.5), blob(18, 20, 4, 4)),
    ],
)
def test_a_spot_is_drawn_where_and_how_large_the_numbers_say(warp: torch.Tensor, expected: torch.Tensor) -> None:
    middle = (..., slice(6, 26), slice(6, 26))  # further out stand the mirror images

    assert_close(warp_pictures(blob(16, 16, 2, 2), warp)[middle], expected[middle], rtol=0, atol=0.05)


def test_a_picture_that_is_not_warped_is_the_same_bit_for_bit_beside_one_that_is() -> None:
    pictures = torch.rand(2, 3, 9, 7, generator=generator("pictures")) * 2 - 1

    warped = warp_pictures(pictures, torch.cat((numbers(), numbers(zoom=1.0))))

    assert torch.equal(warped[0], pictures[0]) and not torch.allclose(warped[1], pictures[1], atol=0.01)
    assert warped.abs().max() <= 1.0


def test_left_stays_left_and_up_stays_up_in_every_warp() -> None:
    slope = torch.linspace(-1, 1, SIDE).expand(64, 3, SIDE, SIDE)

    across = warp_pictures(slope, draw_warps(64, 0.9, generator(1)))
    along = warp_pictures(slope.mT, draw_warps(64, 0.9, generator(1)))

    middle = slice(SIDE // 2 - 2, SIDE // 2 + 2)
    assert (across[..., middle].diff(dim=-1) > 0).float().mean() > 0.95  # but where the mirror image begins
    assert (along[..., middle, :].diff(dim=-2) > 0).float().mean() > 0.95


def test_numbers_are_standard_normal_as_often_as_the_probability_says() -> None:
    drawn = draw_warps(20_000, 0.15, generator(2))

    is_on = drawn != 0
    # 80,000 draws: six standard deviations of a share of 0.15 are 0.0076, of a variance 0.078.
    assert is_on.float().mean().item() == pytest.approx(0.15, abs=0.0076)
    assert drawn[is_on].var().item() == pytest.approx(1.0, abs=0.078)


def test_the_network_is_told_of_the_warp_and_other_draws_stay_the_same() -> None:
    objective, network, batch = Objective(section_of("super", max_aug_level=0.0), CPU), Recorder(), batch_of(16)
    warped = Warped(0.5, objective.draw, objective.loss_under, CPU)
    draws = warped.draw(8, generator(3))

    warped.loss_of(network, batch, draws)

    assert torch.equal(draws.draws.eps, objective.draw(8, generator(3)).eps)  # pyright: ignore[reportAttributeAccessIssue]
    told, low_res = network.told["warp"], network.told["low_res"]
    assert told is not None and low_res is not None and torch.equal(told, draws.warp)
    expected = objective.low_res(warp_pictures(batch.images, draws.warp))
    assert_close(low_res, expected, rtol=0, atol=4e-3)


def test_part_of_the_draws_are_those_of_the_samples_there() -> None:
    objective = Objective(section_of("base"), CPU)
    warped = Warped(0.5, objective.draw, objective.loss_under, CPU)
    draws = warped.draw(8, generator(4))

    part = draws.part(slice(2, 5))

    assert torch.equal(part.warp, draws.warp[2:5])
    assert torch.equal(part.draws.t, draws.draws.t[2:5])  # pyright: ignore[reportAttributeAccessIssue]
