"""A plain word for grids: noise, blank, shapes, captions."""

import pytest
import torch

from minimagen.evaluation.picture_verdict import gain_over, judge, roughness
from minimagen.seeding import generator


def _smooth(num: int, size: int = 16) -> torch.Tensor:
    coarse = torch.rand(num, 3, 4, 4, generator=generator("coarse")) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")


def _noise(num: int, size: int = 16) -> torch.Tensor:
    return torch.randn(num, 3, size, size, generator=generator("noise")).clamp(-1, 1)


def test_white_noise_has_roughness_one_and_a_flat_picture_none():
    assert float(roughness(_noise(8, 64)).mean()) == pytest.approx(1.0, abs=0.02)
    assert roughness(torch.full((2, 3, 8, 8), 0.3)).tolist() == [0.0, 0.0]


def test_roughness_of_a_wave_is_one_minus_its_correlation():
    angles = 2 * torch.pi * torch.arange(64) / 16
    wave = torch.sin(angles).expand(1, 3, 64, 64)

    expected = (1 - torch.cos(torch.tensor(2 * torch.pi / 16))) / 2  # down nothing changes
    assert float(roughness(wave)) == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize(
    ("drawn", "num_right", "look"),
    [
        (_noise(12), 0, "noise"),
        (0.05 * _noise(12), 12, "blank"),
        (torch.zeros(12, 3, 16, 16), 0, "blank"),
        (_smooth(12), 5, "shapes"),
        (_smooth(12), 6, "captions"),
        (_smooth(12) + 0.1 * _noise(12), 12, "captions"),
    ],
)
def test_looks(drawn: torch.Tensor, num_right: int, look: str):
    verdict = judge(drawn, _smooth(12), [number < num_right for number in range(12)])

    assert verdict.look == look
    assert (f"{num_right} of 12" in str(verdict)) == (look in ("shapes", "captions"))


def test_two_captions_found_by_guessing_match_nothing():
    assert judge(_smooth(2), _smooth(2), [True, True]).look == "shapes"


def test_gain_is_the_difference_of_the_psnr():
    real = torch.zeros(2, 3, 8, 8)

    assert gain_over(real + 0.01, real + 0.1, real) == pytest.approx(20.0, abs=1e-4)
