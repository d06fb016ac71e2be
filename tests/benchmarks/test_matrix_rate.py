import itertools

import pytest
import torch

from benchmarks.peer_side.matrix_rate import SIDE, count_flops, matrix_rate


def test_flops_of_a_product_are_two_for_each_multiply_add() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)

    assert count_flops(lambda: left @ right) == 2 * 3 * 5 * 7


def test_flops_of_attention_are_counted() -> None:
    query, key = torch.ones(2, 4, 6, 8), torch.ones(2, 4, 9, 8)

    flops = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, key))

    assert flops == 2 * 2 * (2 * 4) * 6 * 9 * 8


def test_rate_is_the_products_operations_by_the_seconds_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.25)
    monkeypatch.setattr("benchmarks.peer_side.matrix_rate.time.perf_counter", lambda: next(clock))

    rate = matrix_rate("fp32", torch.device("cpu"))

    assert rate == 2 * SIDE["cpu"] ** 3 / 0.25
