"""FID against scipy's matrix root and torchmetrics; the corrected one has the truth in its interval."""

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from minimagen.evaluation.frechet_distance import frechet_distance, has_enough_pictures
from minimagen.seeding import generator
from tests.evaluation.gaussians import Gaussian, spread_gaussian, true_frechet_distance
from tests.torture import num_times

CASES = {
    "equal": ({}, {}),
    "nearly equal": ({}, {"shift": 0.2, "scale": 1.1}),
    "moved": ({"tilt": 0.3}, {"shift": 0.4}),
    "far": ({}, {"shift": 0.5, "scale": 1.2, "tilt": 0.5}),
}
AT_MOST = {"equal": 0.998}
"""Share of intervals that may have the truth, 0.97 in other cases.

Those of equal sets are too long (99 % have it), however much of the noise is taken off (docs/decisions/0021): they err
towards showing no difference, which is why that is let be.
"""


class Flattened(nn.Module):
    """Pictures as their own features."""

    num_features = 12

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1).double()


def _sample_moments(features: torch.Tensor) -> Gaussian:
    return Gaussian(features.mean(0), torch.cov(features.T))


def test_usual_estimate_is_the_closed_form_of_the_sample_moments():
    first, second = spread_gaussian(6, tilt=0.4), spread_gaussian(6, shift=0.3, scale=1.3)
    drawn, real = first.draw(50, generator(1)), second.draw(70, generator(2))

    found = frechet_distance(drawn, real, generator(0))

    assert found.usual == pytest.approx(true_frechet_distance(_sample_moments(drawn), _sample_moments(real)), rel=1e-6)


def test_usual_estimate_is_that_of_torchmetrics():
    pixels = [torch.randint(0, 256, (40, 3, 2, 2), generator=generator(seed)).to(torch.uint8) for seed in (1, 2)]
    metric = FrechetInceptionDistance(feature=Flattened(), input_img_size=(3, 2, 2))
    metric.update(pixels[0], real=False)
    metric.update(pixels[1], real=True)

    drawn, real = (part.flatten(1).double() for part in pixels)

    assert frechet_distance(drawn, real, generator(0)).usual == pytest.approx(float(metric.compute()), rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_correction_takes_the_bias_off(case: str):
    first, second = (spread_gaussian(8, **options) for options in CASES[case])
    truth, draws = true_frechet_distance(first, second), generator("fid", case)

    found = [frechet_distance(first.draw(40, draws), second.draw(60, draws), draws) for _ in range(80)]

    usual, corrected = (
        sum(values) / len(found) for values in ([one.usual for one in found], [one.corrected.value for one in found])
    )
    assert usual > truth
    assert abs(corrected - truth) < 0.4 * (usual - truth)


@pytest.mark.parametrize("case", CASES)
def test_interval_covers_the_truth_in_95_of_100_cases(case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("minimagen.evaluation.frechet_distance.NUM_HALVINGS", 100)
    first, second = (spread_gaussian(8, **options) for options in CASES[case])
    truth, draws, num_cases = true_frechet_distance(first, second), generator("cover", case), num_times(20, 1000)

    found = [
        frechet_distance(first.draw(100, draws), second.draw(300, draws), draws).corrected for _ in range(num_cases)
    ]

    covered = sum(estimate.low <= truth <= estimate.high for estimate in found) / num_cases
    assert covered >= 0.8 if num_cases < 1000 else 0.93 <= covered <= AT_MOST.get(case, 0.97), covered


def test_equal_generators_give_equal_intervals():
    drawn, real = torch.randn(20, 4, generator=generator(1)), torch.randn(30, 4, generator=generator(2))

    assert frechet_distance(drawn, real, generator(5)) == frechet_distance(drawn, real, generator(5))


def test_features_that_never_vary_are_no_obstacle():
    drawn, real = torch.randn(30, 4, generator=generator(1)), torch.randn(30, 4, generator=generator(2))
    drawn[:, 2] = real[:, 2] = 1.0

    found = frechet_distance(drawn, real, generator(0))

    assert 0.0 < found.usual < 2.0


@pytest.mark.parametrize(("num_drawn", "is_enough"), [(63, False), (64, True)])
def test_enough_are_twice_as_many_pictures_as_features_in_either_set(num_drawn: int, is_enough: bool):
    assert has_enough_pictures(num_drawn, 500, 32) == has_enough_pictures(500, num_drawn, 32) == is_enough
