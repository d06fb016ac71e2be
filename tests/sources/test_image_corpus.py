"""1,290 bad or odd pictures: each is stored as it is shown, or rejected with a reason; none hangs or eats memory."""

import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.rows import Rejection
from minimagen.sources.decoding import MAX_DECODE_BYTES
from minimagen.sources.images import NormalisedImage, normalise_image
from tests.sources.damaged_pictures import CONTAINERS, SIZE, Damaged, damaged_pictures, whole_file
from tests.sources.normalise_all import CORPUS_RULES, corpus
from tests.sources.odd_pictures import Odd, odd_pictures
from tests.torture import TORTURE

STRIDE = 1 if TORTURE else 5
REASONS = {"not_an_image", "undecodable", "too_many_pixels", "too_small", "extreme_aspect", "flat"}
DAMAGED = list(damaged_pictures())
KINDS = [f"{name}-{kind}" for name in CONTAINERS for kind in ("cut", "flip", "part")]


def normalised(raw: bytes) -> NormalisedImage | Rejection:
    return normalise_image(raw, CORPUS_RULES, max_decode_bytes=MAX_DECODE_BYTES)


def pixels_of(image: NormalisedImage) -> np.ndarray:
    with Image.open(io.BytesIO(image.content)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (image.width, image.height))
        return np.asarray(opened)


def damaged(*kinds: str) -> list[Damaged]:
    """The slice of some kinds."""
    return [one for one in DAMAGED if one.kind in kinds][::STRIDE]


def pixels_or_reason(raw: bytes) -> np.ndarray | str:
    outcome = normalised(raw)
    return outcome.reason if isinstance(outcome, Rejection) else pixels_of(outcome)


def test_the_corpus_is_as_large_as_it_says_and_no_name_stands_twice() -> None:
    names = Counter(name for name, _ in corpus(1))

    assert len(names) == names.total() == 6 * (60 + 120) + 25 * 6 + 60 == 1290


@pytest.mark.parametrize("odd", list(odd_pictures()), ids=lambda odd: odd.name)
def test_an_odd_picture_is_stored_as_it_is_shown_or_rejected(odd: Odd) -> None:
    outcome = normalised(odd.raw)

    if isinstance(odd.expected, str) or isinstance(outcome, Rejection):
        assert isinstance(outcome, Rejection) and outcome.reason == odd.expected, outcome
    else:
        np.testing.assert_array_equal(pixels_of(outcome), odd.expected)
        assert (outcome.orig_height, outcome.orig_width) == odd.expected.shape[:2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_picture_is_stored_or_rejected_with_a_known_reason(kind: str) -> None:
    for one in damaged(kind):
        outcome = normalised(one.raw)

        if isinstance(outcome, Rejection):
            assert outcome.reason in REASONS and outcome.detail, f"{one.name}: {outcome}"
            assert outcome.detail.isascii() and "0x7" not in outcome.detail, f"{one.name}: {outcome}"
        else:
            assert pixels_of(outcome).shape == (outcome.height, outcome.width, 3), one.name


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_picture_that_is_cut_short_is_whole_or_rejected(name: str) -> None:
    whole = pixels_or_reason(whole_file(name))

    for one in damaged(f"{name}-cut"):
        found = pixels_or_reason(one.raw)
        assert isinstance(found, str) or np.array_equal(found, whole), one.name


def test_hardly_any_flipped_bit_of_a_png_changes_a_pixel_unnoticed() -> None:
    whole, flipped = pixels_or_reason(whole_file("png")), damaged("png-flip")

    found = [pixels_or_reason(one.raw) for one in flipped]

    num_changed = sum(not isinstance(one, str) and not np.array_equal(one, whole) for one in found)
    assert num_changed <= 0.02 * len(flipped)


def test_a_format_that_is_not_asked_for_is_never_decoded() -> None:
    for one in damaged("bmp-cut", "bmp-flip", "bmp-part"):
        assert isinstance(found := pixels_or_reason(one.raw), str) and found == "not_an_image", one.name


@pytest.mark.parametrize("name", [name for name in CONTAINERS if name != "bmp"])
def test_an_undamaged_picture_is_stored(name: str) -> None:
    whole = pixels_or_reason(whole_file(name))

    assert isinstance(whole, np.ndarray) and whole.shape == (SIZE[1], SIZE[0], 3)


def test_none_takes_long_or_much_memory_and_another_process_ends_them_alike(checkout: Path) -> None:
    command = [sys.executable, "-m", "tests.sources.normalise_all", str(STRIDE)]
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)

    *records, memory = map(json.loads, result.stdout.splitlines())
    assert max(record["seconds"] for record in records) < 5.0
    assert memory["peak_mb"] < 256, memory
    for record, (name, raw) in zip(records, corpus(STRIDE), strict=True):
        outcome = normalised(raw)
        seen = (outcome.reason, outcome.detail) if isinstance(outcome, Rejection) else ("", outcome.sha256)
        assert (record["name"], record["reason"], record["detail"]) == (name, *seen)
