"""The choice of samples: captions before repetitions, seeded, nested."""

from minimagen.evaluation.selection import choose_samples

CAPTIONS = ["a", "a", "b", "a", "c", "b"]


def test_every_caption_comes_before_any_comes_twice():
    chosen = choose_samples(CAPTIONS, 5, seed=0)

    assert {CAPTIONS[position] for position in chosen[:3]} == {"a", "b", "c"}
    assert sorted(CAPTIONS[position] for position in chosen[3:]) == ["a", "b"]


def test_no_sample_is_chosen_twice_and_none_is_invented():
    assert sorted(choose_samples(CAPTIONS, 100, seed=0)) == list(range(6))


def test_a_smaller_choice_begins_a_larger_one():
    assert choose_samples(CAPTIONS, 2, seed=3) == choose_samples(CAPTIONS, 6, seed=3)[:2]


def test_seed_decides_the_choice():
    captions = [str(number) for number in range(50)]

    assert choose_samples(captions, 50, seed=0) == choose_samples(captions, 50, seed=0)
    assert choose_samples(captions, 50, seed=0) != choose_samples(captions, 50, seed=1)


def test_nothing_to_choose_from_is_an_empty_choice():
    assert choose_samples([], 4, seed=0) == []
