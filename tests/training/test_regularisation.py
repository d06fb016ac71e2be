"""Fewer pictures are learnt by heart sooner: the suggestions fall with their number."""

import pytest

from minimagen.training.regularisation import Regularisation, advice, suggest_regularisation


@pytest.mark.parametrize(
    ("num_pictures", "expected"),
    [
        (1, Regularisation(0.25, 0.15)),
        (1_000, Regularisation(0.25, 0.15)),
        (15_000, Regularisation(0.2, 0.15)),
        (70_000, Regularisation(0.1, 0.05)),
        (1_300_000, Regularisation(0.1, 0.0)),
    ],
)
def test_suggestions_are_those_of_the_table(num_pictures: int, expected: Regularisation) -> None:
    assert suggest_regularisation(num_pictures) == expected


def test_suggestions_never_rise_with_the_number_of_pictures() -> None:
    found = [suggest_regularisation(10**power) for power in range(8)]

    for less, more in zip(found[1:], found, strict=False):
        assert less.dropout <= more.dropout and less.warp_prob <= more.warp_prob


def test_advice_is_given_to_who_trains_on_few_pictures_without_dropout() -> None:
    line = advice(2_304, 0.0)

    assert line is not None and line.startswith("2,304 training pictures and no dropout") and "unet.dropout 0.2" in line
    assert advice(2_304, 0.1) is None and advice(20_000, 0.0) is None
