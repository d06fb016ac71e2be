"""Retry-After in both forms, and full jitter."""

from email.utils import formatdate

import pytest

from minimagen.sources.retries import LONGEST_PARK_S, full_jitter_s, retry_after_s
from tests.simulators.clocks import ScaledClock

CLOCK = ScaledClock(0.0, 100.0, 1.8e9)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        (formatdate(1.8e9 + 90, usegmt=True), 90.0),
        ("Fri, 15 Jan 2027 08:01:30 +0000", 90.0),
        ("1000000000", LONGEST_PARK_S),
        ("9" * 400, LONGEST_PARK_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PARK_S),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0661\u0662", None),
        (formatdate(1.8e9 - 90, usegmt=True), None),
        ("Fri, 99 Foo 2027 08:01:30 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_understood_in_both_forms(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, CLOCK) == wait_s


def test_jitter_is_uniform_below_a_bound_that_doubles_up_to_a_limit() -> None:
    for attempt, bound in [(0, 1.0), (1, 2.0), (4, 16.0), (6, 60.0), (10**9, 60.0)]:
        waits = [full_jitter_s(attempt, 1.0, 60.0) for _ in range(2000)]
        assert 0.0 <= min(waits) < 0.05 * bound
        assert 0.95 * bound < max(waits) <= bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.1)
