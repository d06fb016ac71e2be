"""In which order the rows of a long list are drawn, and which of them repeat an earlier one. Knows no row.

Arrays of numbers throughout: a list of twelve million rows costs megabytes, not gigabytes.
"""

import numpy as np
import numpy.typing as npt

from minimagen.files import sha256_bytes

Numbers = npt.NDArray[np.uint64]
NO_IDENTITY = np.uint64(0)
"""Of a row that is like no other."""


def drawing_order(num_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Returns 0 .. num_rows - 1 as a shuffle that is a pure function of its arguments, on every machine and numpy.

    Sorted by SplitMix64 (Steele, Lea & Flood 2014) of each number, so rows that are added to a list later leave the
    order of the others among themselves as it is.
    """
    state = np.arange(num_rows, dtype=np.uint64)
    state *= np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(int(sha256_bytes(f"drawing order {seed}".encode())[:16], 16))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return np.argsort(state, kind="stable")


def repeats(identities: Numbers) -> npt.NDArray[np.bool_]:
    """Tells for each row whether an earlier one has the same identity."""
    order = np.argsort(identities, kind="stable")
    ordered = identities[order]
    is_repeat = np.zeros(len(identities), dtype=np.bool_)
    is_repeat[order[1:]] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != NO_IDENTITY)
    return is_repeat
