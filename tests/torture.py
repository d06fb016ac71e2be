"""How hard the tests try: MINIMAGEN_TORTURE is 0 (a seeded slice, the default), 1 (every case), or more for longer.

What a test does often, such as killing, it does so many times more often.
"""

import os

import pytest

TORTURE = int(os.environ.get("MINIMAGEN_TORTURE", "0"))

whole_only = pytest.mark.skipif(TORTURE == 0, reason="too long for make test; make torture-ci runs it")
"""Marks what has no slice."""


def num_times(quick: int, whole: int) -> int:
    """Returns how often to do what is done ``whole`` times in a whole run, and ``quick`` times in a slice of it."""
    return quick if TORTURE == 0 else whole * TORTURE
