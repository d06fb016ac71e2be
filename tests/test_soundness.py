"""Numbers that can be computed with, and those that cannot."""

import math

import pytest
import torch

from minimagen.soundness import MAX_MAGNITUDE, is_sound, sound_samples


@pytest.mark.parametrize("value", [0.0, -1.0, 65504.0, 5e-324, MAX_MAGNITUDE, -MAX_MAGNITUDE])
def test_usual_numbers_are_sound_and_their_squares_finite(value: float) -> None:
    assert is_sound(value)
    assert torch.tensor(value, dtype=torch.float32).square().isfinite()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e38, -1e38])
def test_others_are_not(value: float) -> None:
    assert not is_sound(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_with_one_bad_number_in_either_tensor_is_found(value: float, dtype: torch.dtype) -> None:
    images, texts = torch.zeros(4, 3, 2, 2, dtype=dtype), torch.zeros(4, 5, 6)
    images[1, 2, 1, 1] = value
    texts[3, 4, 0] = value

    assert sound_samples(images, texts).tolist() == [True, False, True, False]
