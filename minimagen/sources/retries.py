"""How long to wait before asking again: what a server says in Retry-After, or full jitter. Knows no protocol but that.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015): uniform between zero and a bound that doubles.
"""

import random
from email.utils import parsedate_to_datetime

from minimagen.sources.clock import Clock

LONGEST_PARK_S = 86400.0


def retry_after_s(value: str | None, clock: Clock) -> float | None:
    """Returns the seconds that a Retry-After header asks for, in either of its forms.

    None if it is absent, says nothing that can be understood, or names a moment that is over (RFC 9110, 10.2.3).
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:18]), LONGEST_PARK_S) or None
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    wait_s = min(moment - clock.wall(), LONGEST_PARK_S)
    return wait_s if wait_s > 0 else None


def full_jitter_s(attempt: int, first_s: float, longest_s: float) -> float:
    """Returns a random wait before the try after ``attempt`` (from 0) failed; consumes the process's own randomness."""
    return random.uniform(0.0, min(longest_s, first_s * 2.0 ** min(attempt, 30)))
