"""How hard the tests try: MINIMAGEN_TORTURE is 0 (a seeded slice, the default), 1 (every case), or more for longer.

What a test does often, such as killing, it does so many times more often.
"""

import os

TORTURE = int(os.environ.get("MINIMAGEN_TORTURE", "0"))


def num_times(quick: int, whole: int) -> int:
    """Returns how often to do what is done ``whole`` times in a whole run, and ``quick`` times in a slice of it."""
    return quick if TORTURE == 0 else whole * TORTURE
