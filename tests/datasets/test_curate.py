from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen.config import CurateConfig
from minimagen.datasets.curate import Placement, Sample, curate, positions_to_look_at, sample_of, split_hash
from minimagen.datasets.likeness import Look
from minimagen.rows import Rejection

CONFIG = CurateConfig(val_fraction=0.3, salt="1", max_hamming=4, max_lab_distance=5.0)
GREY = (50.0, 0.0, 0.0)
FAR = [0x0123_4567_89AB_CDEF * (2 * n + 1) % 2**63 for n in range(200)]
"""Hashes far from each other."""


def sample(
    key: str, phash: int = 0, *, text: str | None = None, group: str | None = None, held_out: bool | None = None
):
    return Sample(key, f"caption of {key}" if text is None else text, phash, group, held_out)


def looks(samples: Sequence[Sample], **colours: tuple[float, float, float]) -> dict[int, Look]:
    """Every picture has its own pixels and is grey, unless told otherwise."""
    return {position: Look(f"pixels of {one.key}", colours.get(one.key, GREY)) for position, one in enumerate(samples)}


def key_in(split: str, number: int = 0) -> str:
    """A name whose hash falls into a split."""
    names = (f"{split}-{n}" for n in range(1000))
    wanted = [name for name in names if (split_hash(name, "1") < 0.3) == (split == "validation")]
    return wanted[number]


TRAIN, VALIDATION = key_in("train"), key_in("validation")


def test_pictures_that_are_not_alike_found_groups_split_by_their_hash() -> None:
    samples = [sample(f"k{n}", FAR[n]) for n in range(200)]

    outcomes = curate(samples, looks(samples), CONFIG)

    assert outcomes == [
        Placement(one.key, "validation" if split_hash(one.key, "1") < 0.3 else "train") for one in samples
    ]
    share = sum(isinstance(o, Placement) and o.split == "validation" for o in outcomes) / 200
    assert 0.2 < share < 0.4


def test_another_salt_holds_out_other_groups() -> None:
    samples = [sample(f"k{n}", FAR[n]) for n in range(60)]

    assert curate(samples, looks(samples), CONFIG) != curate(
        samples, looks(samples), CONFIG.model_copy(update={"salt": "2"})
    )


def test_a_near_duplicate_joins_the_group_of_the_older_one() -> None:
    samples = [sample(VALIDATION, FAR[0]), sample(TRAIN, FAR[1]), sample("later", FAR[0] ^ 0b1111)]

    outcomes = curate(samples, looks(samples), CONFIG)

    assert outcomes[2] == Placement(VALIDATION, "validation") == outcomes[0]


@pytest.mark.parametrize(
    ("distance", "bits", "joins"), [(5.0, 0b1111, True), (5.01, 0b1111, False), (0.0, 0b11111, False), (4.9, 0, True)]
)
def test_near_means_a_close_hash_and_a_close_colour(distance: float, bits: int, joins: bool) -> None:
    samples = [sample(TRAIN, FAR[0]), sample(VALIDATION, FAR[1]), sample("later", FAR[0] ^ bits)]
    colours = looks(samples, later=(50.0 + distance, 0.0, 0.0))

    outcome = curate(samples, colours, CONFIG)[2]

    assert isinstance(outcome, Placement)
    assert (outcome.group_id == TRAIN) is joins


def test_a_row_near_groups_of_both_splits_is_rejected_naming_both() -> None:
    near_both = FAR[0] ^ 0b111
    samples = [sample(TRAIN, FAR[0]), sample(VALIDATION, FAR[0] ^ 0b111111), sample("bridge", near_both)]

    outcome = curate(samples, looks(samples), CONFIG)[2]

    assert outcome == Rejection("bridges_split", f"like {TRAIN} (train), {VALIDATION} (validation)")


def test_what_is_near_a_rejected_row_alone_is_kept() -> None:
    samples = [
        sample(TRAIN, FAR[0]),
        sample(VALIDATION, FAR[0] ^ 0b111111),
        sample("bridge", FAR[0] ^ 0b111),
        sample("far", FAR[0] ^ 0b111 ^ 0b1111_0000_0000),
    ]

    outcome = curate(samples, looks(samples), CONFIG)[3]

    assert isinstance(outcome, Placement) and outcome.group_id == "far"


def test_a_row_near_two_groups_of_one_split_joins_the_older() -> None:
    first, second = key_in("train", 3), key_in("train", 4)
    samples = [
        sample(first, FAR[0]),
        sample(second, FAR[0] ^ 0b111111),
        sample(VALIDATION, FAR[1]),
        sample("both", FAR[0] ^ 0b111000),
    ]

    assert curate(samples, looks(samples), CONFIG)[3] == Placement(first, "train")


def test_equal_pixels_with_an_equal_caption_are_stored_once() -> None:
    samples = [
        sample(TRAIN, 7, text="a"),
        sample(VALIDATION, FAR[1]),
        sample("twin", 7, text="a"),
        sample("other", 7, text="b"),
    ]
    seen = looks(samples)
    seen |= dict.fromkeys((2, 3), seen[0])

    outcomes = curate(samples, seen, CONFIG)

    assert outcomes[2] == Rejection("duplicate", f"picture and caption of {TRAIN}")
    assert outcomes[3] == Placement(TRAIN, "train")


def test_a_key_is_stored_once() -> None:
    samples = [sample(TRAIN, FAR[0]), sample(VALIDATION, FAR[1]), sample(TRAIN, FAR[2])]

    assert curate(samples, looks(samples), CONFIG)[2] == Rejection("duplicate_key", "an older row has this key")


def test_a_declared_group_turns_likeness_off_and_says_its_split() -> None:
    samples = [
        sample("a", 7, group="scenes:red apple", held_out=False),
        sample("b", 7, group="scenes:blue apple", held_out=True),
        sample("c", 7, group="scenes:red apple", held_out=False),
    ]

    assert curate(samples, looks(samples), CONFIG) == [
        Placement("scenes:red apple", "train"),
        Placement("scenes:blue apple", "validation"),
        Placement("scenes:red apple", "train"),
    ]


def test_a_declared_group_without_a_split_is_split_by_its_hash() -> None:
    samples = [sample("a", 7, group=TRAIN), sample("b", 7, group=VALIDATION)]

    assert curate(samples, looks(samples), CONFIG) == [
        Placement(TRAIN, "train"),
        Placement(VALIDATION, "validation"),
    ]


def test_a_group_declared_held_out_and_not_is_an_error() -> None:
    samples = [sample("a", group="g", held_out=True), sample("b", group="g", held_out=False)]

    with pytest.raises(ValueError, match="b: its source declares the group 'g' both held out and not"):
        curate(samples, looks(samples), CONFIG)


def test_a_source_declares_group_and_split_in_extra() -> None:
    assert sample_of("k", "t", 1, "scenes", '{"group":"g","held_out":true}') == Sample("k", "t", 1, "scenes:g", True)
    assert sample_of("k", "t", 1, "folder", "{}") == Sample("k", "t", 1, None, None)


@pytest.mark.parametrize(("val_fraction", "scarce"), [(1e-9, "validation"), (1 - 1e-9, "train")])
@pytest.mark.parametrize("num_groups", [2, 16])
def test_a_split_that_the_hash_leaves_empty_gets_the_nearest_group(
    val_fraction: float, scarce: str, num_groups: int
) -> None:
    samples = [sample(f"k{n}", FAR[n]) for n in range(num_groups)]

    outcomes = curate(samples, looks(samples), CONFIG.model_copy(update={"val_fraction": val_fraction}))

    moved = [o.group_id for o in outcomes if isinstance(o, Placement) and o.split == scarce]
    extreme = min if scarce == "validation" else max
    assert moved == [extreme((one.key for one in samples), key=lambda key: split_hash(key, "1"))]


def test_a_moved_group_takes_its_near_duplicates_along() -> None:
    tiny = CONFIG.model_copy(update={"val_fraction": 1e-9})
    moved = min(("a", "b", "c"), key=lambda key: split_hash(key, "1"))
    samples = [sample(key, FAR[n]) for n, key in enumerate("abc")]
    samples.append(sample("twin", FAR["abc".index(moved)] ^ 1))

    outcomes = curate(samples, looks(samples), tiny)

    assert outcomes[3] == Placement(moved, "validation")


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_fewer_than_two_groups_cannot_be_split(num_rows: int) -> None:
    samples = [sample(f"k{n}", 7) for n in range(num_rows)]

    with pytest.raises(ValueError, match=f"no picture is left for split '.*': {num_rows} pictures make"):
        curate(samples, looks(samples), CONFIG)


def test_a_source_that_holds_nothing_out_is_not_overruled() -> None:
    samples = [sample(key, group=key, held_out=False) for key in "ab"]

    with pytest.raises(ValueError, match="no picture is left for split 'validation'"):
        curate(samples, looks(samples), CONFIG)


def test_only_pictures_that_pixels_decide_are_looked_at() -> None:
    samples = [
        sample("a", FAR[0]),
        sample("near", FAR[0] ^ 1),
        sample("alone", FAR[1]),
        sample("scene", FAR[1], group="g", held_out=False, text="x"),
        sample("scene twin", FAR[1], group="g", held_out=False, text="x"),
        sample("scene other", FAR[1], group="g", held_out=False, text="y"),
    ]

    assert positions_to_look_at(samples, CONFIG) == {0, 1, 3, 4}


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_appending_rows_changes_no_older_outcome_and_splits_share_no_near_duplicates(data: st.DataObject) -> None:
    centers = st.integers(0, 2)
    flips = st.lists(st.integers(0, 9), max_size=5).map(lambda places: sum({1 << place for place in places}))
    phashes = data.draw(st.lists(st.builds(lambda c, f: FAR[c] ^ f, centers, flips), min_size=2, max_size=20))
    fixed = [sample(TRAIN, FAR[50]), sample(VALIDATION, FAR[51])]
    samples = fixed + [sample(f"k{n}", phash) for n, phash in enumerate(phashes)]
    cut = data.draw(st.integers(2, len(samples)))

    outcomes = curate(samples, looks(samples), CONFIG)

    assert curate(samples[:cut], looks(samples[:cut]), CONFIG) == outcomes[:cut]
    kept = [(one, o) for one, o in zip(samples, outcomes, strict=True) if isinstance(o, Placement)]
    for one, left in kept:
        for other, right in kept:
            if (one.phash ^ other.phash).bit_count() <= CONFIG.max_hamming:
                assert left.split == right.split
