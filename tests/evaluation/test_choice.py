import pytest
import torch

from minimagen.evaluation.choice import Candidate, choose
from minimagen.seeding import generator


def candidate(label: str, scores: torch.Tensor, cost: int) -> Candidate:
    return Candidate(label, scores, cost)


def test_cheaper_one_that_is_as_good_is_taken() -> None:
    noise = torch.randn(200, generator=generator(0))
    tried = [candidate("40", 1.0 + noise, 40), candidate("20", 1.0 + noise.flip(0), 20), candidate("5", noise - 1.0, 5)]

    found = choose(tried, generator(1))

    assert tried[found.position].label == "20"
    assert found.behind[2].low > 1.0, "the cheapest is measurably worse"


def test_best_one_is_taken_where_all_cheaper_ones_are_worse() -> None:
    scores = torch.linspace(0.0, 1.0, 50)
    tried = [candidate("few", scores, 5), candidate("many", scores + 0.01, 50)]

    assert choose(tried, generator(0)).position == 1


def test_among_equal_costs_the_better_is_taken_and_among_equals_the_first() -> None:
    zeros, ones = torch.zeros(20), torch.ones(20)

    assert choose([candidate("a", zeros, 5), candidate("b", ones, 5)], generator(0)).position == 1
    assert choose([candidate("a", ones, 5), candidate("b", ones, 5)], generator(0)).position == 0


def test_best_is_behind_itself_by_nothing() -> None:
    (gap,) = choose([candidate("a", torch.arange(9.0), 1)], generator(0)).behind

    assert (gap.mean, gap.low, gap.high) == (0.0, 0.0, 0.0)


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no candidate"):
        choose([], generator(0))
