import pytest

from minimagen.stages.measure_denoising import choose_stable


def test_chosen_samples_stay_when_others_come() -> None:
    before = [f"folder:{number}" for number in range(200)]
    after = [f"new:{number}" for number in range(20)] + before

    first = {before[position] for position in choose_stable(before, 100, seed=0)}
    second = {after[position] for position in choose_stable(after, 100, seed=0)}

    assert len(first) == 100 and len(first & second) >= 85
    assert second - first <= set(after[:20])


@pytest.mark.parametrize("num_samples", [3, 5, 9])
def test_choice_is_of_keys_not_of_their_order(num_samples: int) -> None:
    keys = ["b", "e", "a", "d", "c"]
    turned = keys[::-1]
    first, second = choose_stable(keys, num_samples, seed=1), choose_stable(turned, num_samples, seed=1)
    assert [keys[position] for position in first] == [turned[position] for position in second]
    assert len(first) == min(num_samples, 5)
