"""KID against a closed form, a loop and torchmetrics; its interval covers the truth as often as it says."""

import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from minimagen.evaluation.kernel_distance import kernel_distance
from minimagen.seeding import generator
from tests.evaluation.gaussians import spread_gaussian, true_kernel_distance
from tests.torture import num_times

CASES = {
    "equal": ({}, {}),
    "nearly equal": ({}, {"shift": 0.1, "scale": 1.1}),
    "moved": ({"tilt": 0.3}, {"shift": 0.3}),
    "far": ({}, {"shift": 0.5, "scale": 1.2, "tilt": 0.5}),
}
AT_MOST = {"equal": 0.985}
"""Share of intervals that may have the truth, 0.97 in other cases.

Those of equal sets are too long (97.5 to 98 % have it), however much of the noise is taken off (docs/decisions/0021):
they err towards showing no difference, which is why that is let be.
"""


def test_estimate_is_the_sum_over_all_pairs():
    drawn, real = torch.randn(5, 3, generator=generator(1)), torch.randn(4, 3, generator=generator(2))

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return float((x.double() @ y.double() / 3 + 1) ** 3)

    own = [kernel(drawn[i], drawn[j]) for i in range(5) for j in range(5) if i != j]
    other = [kernel(real[i], real[j]) for i in range(4) for j in range(4) if i != j]
    between = [kernel(x, y) for x in drawn for y in real]
    expected = sum(own) / 20 + sum(other) / 12 - 2 * sum(between) / 20
    assert kernel_distance(drawn, real, generator(0)).value == pytest.approx(expected)


def test_estimate_is_that_of_torchmetrics():
    drawn, real = torch.randn(40, 16, generator=generator(1)), torch.randn(40, 16, generator=generator(2)) + 0.3

    expected = float(poly_mmd(real.double(), drawn.double()))

    assert kernel_distance(drawn, real, generator(0)).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_estimate_is_on_average_the_closed_form(case: str):
    first, second = (spread_gaussian(12, **options) for options in CASES[case])
    draws = generator("kid", case)

    found = torch.tensor(
        [kernel_distance(first.draw(30, draws), second.draw(40, draws), draws).value for _ in range(150)]
    )

    error = found.std() / len(found) ** 0.5
    assert abs(float(found.mean()) - true_kernel_distance(first, second)) < 4 * float(error)


@pytest.mark.parametrize("case", CASES)
def test_interval_covers_the_truth_in_95_of_100_cases(case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("minimagen.evaluation.kernel_distance.NUM_RESAMPLES", 500)
    first, second = (spread_gaussian(32, **options) for options in CASES[case])
    truth, draws, num_cases = true_kernel_distance(first, second), generator("cover", case), num_times(20, 1000)

    found = [kernel_distance(first.draw(144, draws), second.draw(400, draws), draws) for _ in range(num_cases)]

    covered = sum(estimate.low <= truth <= estimate.high for estimate in found) / num_cases
    assert covered >= 0.8 if num_cases < 1000 else 0.93 <= covered <= AT_MOST.get(case, 0.97), covered


def test_equal_generators_give_equal_intervals():
    drawn, real = torch.randn(20, 8, generator=generator(1)), torch.randn(30, 8, generator=generator(2))

    assert kernel_distance(drawn, real, generator(5)) == kernel_distance(drawn, real, generator(5))


def test_pictures_that_are_all_the_same_have_no_spread():
    estimate = kernel_distance(torch.ones(4, 3), torch.ones(5, 3), generator(0))

    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_a_single_picture_is_refused():
    with pytest.raises(ValueError, match="two pictures of each kind, not 1 and 7"):
        kernel_distance(torch.ones(1, 3), torch.ones(7, 3), generator(0))
