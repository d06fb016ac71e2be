import numpy as np
import pytest

from minimagen.sources.drawing_order import NO_IDENTITY, drawing_order, repeats


@pytest.mark.parametrize("num_rows", [0, 1, 2, 1000])
@pytest.mark.parametrize("seed", [0, -1, 2**70])
def test_every_row_is_drawn_once(num_rows: int, seed: int) -> None:
    assert sorted(drawing_order(num_rows, seed)) == list(range(num_rows))


def test_the_order_is_that_of_a_hand_written_splitmix64() -> None:
    from hashlib import sha256

    def mixed(number: int) -> int:
        base = int.from_bytes(sha256(b"drawing order 5").digest()[:8], "big")
        state = (number * 0x9E3779B97F4A7C15 + base) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    assert drawing_order(500, 5).tolist() == sorted(range(500), key=mixed)


def test_a_longer_list_leaves_the_order_of_the_others_among_themselves() -> None:
    short, long = drawing_order(500, 3), drawing_order(800, 3)

    assert long[long < 500].tolist() == short.tolist()


def test_neighbours_in_the_list_are_drawn_far_apart() -> None:
    position = np.argsort(drawing_order(10_000, 1))

    assert abs(np.corrcoef(np.arange(10_000), position)[0, 1]) < 0.05
    assert np.mean(np.abs(np.diff(position))) == pytest.approx(10_000 / 3, rel=0.05)


def test_a_repeat_is_a_row_whose_identity_an_earlier_one_has() -> None:
    identities = np.array([5, 7, 5, NO_IDENTITY, NO_IDENTITY, 7, 5, 9], dtype=np.uint64)

    assert repeats(identities).tolist() == [False, False, True, False, False, True, True, False]
    assert repeats(identities[:0]).tolist() == []
