import math

import pytest

from benchmarks.intervals import mean_interval


def test_interval_of_three_is_the_tabulated_one() -> None:
    # Student's t at 2 degrees of freedom: sqrt(2) (2p - 1) / sqrt(2 p (1 - p)) in closed form.
    p = 0.975
    quantile = (2 * p - 1) / math.sqrt(2 * p * (1 - p))

    found = mean_interval([1.0, 2.0, 3.0])

    assert found.mean == 2.0
    assert found.half_width == pytest.approx(quantile * 1.0 / math.sqrt(3), rel=1e-9)
    assert str(found) == "2.000 +- 2.484"


def test_one_value_has_no_interval_and_no_value_is_refused() -> None:
    assert str(mean_interval([0.25])) == "0.250"
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
