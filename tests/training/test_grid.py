"""Grids show what was asked for, the same every time."""

import numpy as np
import pytest
import torch

from minimagen.datasets.transforms import to_pixels
from minimagen.training.grid import draw_grid
from minimagen.training.objective import Objective
from tests.training.test_objective import CPU, batch_of, learned, section_of


@pytest.mark.parametrize(("name", "sides"), [("base", [8, 8]), ("super", [8, 16, 16])])
def test_each_caption_has_its_pictures_side_by_side(name: str, sides: list[int]) -> None:
    section = section_of(name)
    batch = batch_of(section.image_size, 3)

    pictures = draw_grid(Objective(section, CPU), learned(section).eval(), batch)

    assert [stage.shape for stage in pictures] == [(3, side, side, 3) for side in sides]
    np.testing.assert_array_equal(pictures[-1], to_pixels(batch.images))


def test_equal_weights_draw_equal_grids() -> None:
    section = section_of("base")
    network = learned(section).eval()

    first = draw_grid(Objective(section, CPU), network, batch_of(8, 3))
    torch.rand(3)

    np.testing.assert_array_equal(first[0], draw_grid(Objective(section, CPU), network, batch_of(8, 3))[0])
