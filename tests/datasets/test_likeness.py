import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minimagen.datasets.likeness import HashIndex, Look, close_hashes, lab_distance, lab_of, look_at

HASHES = st.integers(-(2**63), 2**63 - 1)


def hamming(left: int, right: int) -> int:
    return ((left ^ right) % 2**64).bit_count()


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # reference values of the CIE formulas under D65
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0.0, 0.0)),
        ((5, 5, 5), (1.37, 0.0, 0.0)),
    ],
)
def test_lab_agrees_with_published_values(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(lab_of(np.array([[rgb]], np.uint8))[0, 0], lab, atol=0.02)


@given(st.lists(HASHES, min_size=2, max_size=12), st.integers(0, 16), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_index_finds_what_comparing_all_pairs_finds(phashes: list[int], max_hamming: int, mask: int) -> None:
    bits = bin(mask)[2:].zfill(64)
    few = sum(1 << position for position, bit in enumerate(bits) if bit == "1" and position % 5 == 0)
    phashes = [*phashes, *((phash ^ few) - 2**64 if (phash ^ few) >= 2**63 else phash ^ few for phash in phashes)]
    index = HashIndex(max_hamming)
    for position, phash in enumerate(phashes):
        expected = [other for other in range(position) if hamming(phash, phashes[other]) <= max_hamming]
        assert index.near(phash) == expected
        index.add(phash, position)


@pytest.mark.parametrize("max_hamming", range(17))
def test_no_pair_at_the_limit_is_missed_wherever_its_bits_differ(max_hamming: int) -> None:
    generator = np.random.default_rng(max_hamming)
    index = HashIndex(max_hamming)
    index.add(-1, 0)

    for _ in range(50):
        places = generator.permutation(64)
        at_limit = sum(1 << int(place) for place in places[:max_hamming])
        beyond = sum(1 << int(place) for place in places[: max_hamming + 1])
        assert index.near(-1 ^ at_limit) == [0]
        assert index.near(-1 ^ beyond) == []


def test_close_hashes_names_both_of_a_pair_and_nobody_else() -> None:
    assert close_hashes([0, 2**63 - 1, 3, -1, 0b111000], 2) == {0, 1, 2, 3}
    assert close_hashes([], 4) == close_hashes([5], 4) == set()


def test_a_look_tells_pixels_apart_not_encodings() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    turned = np.ascontiguousarray(pixels.reshape(7, 9, 3))

    assert look_at(encoded(pixels)) == look_at(encoded(pixels, "BMP"))
    assert look_at(encoded(pixels)).pixels_sha256 != look_at(encoded(turned)).pixels_sha256


def test_the_distance_sees_the_colour_that_the_hash_does_not() -> None:
    red, blue, grey = (np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255), (90, 90, 90)))

    assert lab_distance(look_at(encoded(red)), look_at(encoded(blue))) == pytest.approx(176.3, abs=0.2)
    assert lab_distance(look_at(encoded(grey)), look_at(encoded(grey + np.uint8(2)))) < 1.0
    assert lab_distance(Look("", (1.0, 2.0, 2.0)), Look("", (0.0, 0.0, 0.0))) == 3.0
