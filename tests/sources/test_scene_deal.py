from collections import Counter

import pytest

from minimagen.config import ConfigError, ScenesConfig
from minimagen.sources.scene_deal import (
    check_deal,
    combination,
    count_combinations,
    deal_scene,
    is_held_out,
    shuffled_number,
)
from minimagen.sources.scene_grammar import Scene, SceneObject, group_of

LONE = ScenesConfig(
    num_scenes=240,
    seed=0,
    size=32,
    objects=("red apple", "fox", "frog", "globe"),
    backgrounds=("white", "blue", "pink"),
    positions=("center", "top left", "bottom"),
    sizes=("small", "large"),
    relations=(),
    held_out_fraction=0.25,
    jitter=0.02,
    shard_rows=100,
)
PAIR = LONE.model_copy(update={"positions": (), "relations": ("left of", "right of", "above", "below")})


@pytest.mark.parametrize(("config", "count"), [(LONE, 4 * 3 * 2 * 3), (PAIR, 4 * 3 * 4 * 3)])
def test_combinations_are_all_different(config: ScenesConfig, count: int) -> None:
    scenes = {combination(config, number) for number in range(count_combinations(config))}

    assert len(scenes) == count_combinations(config) == count
    assert all(len({one.name for one in scene.objects}) == len(scene.objects) for scene in scenes)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 720, 1000])
def test_the_shuffle_is_a_permutation(count: int) -> None:
    assert sorted(shuffled_number(number, count, seed=3) for number in range(count)) == list(range(count))


def test_the_shuffle_depends_on_the_seed_and_moves_nearly_everything() -> None:
    first, second = ([shuffled_number(number, 720, seed) for number in range(720)] for seed in (0, 1))

    assert first != second
    assert sum(place == number for place, number in enumerate(first)) < 10


def test_scenes_are_dealt_evenly_over_the_combinations() -> None:
    counts = Counter(deal_scene(LONE, index).scene for index in range(LONE.num_scenes))

    assert len(counts) == count_combinations(LONE)
    assert set(counts.values()) == {240 // 72, 240 // 72 + 1}


def test_fewer_scenes_than_combinations_are_a_sample_without_repetition() -> None:
    large = PAIR.model_copy(update={"objects": tuple(f"object {number}" for number in range(700))})

    scenes = {deal_scene(large, index).scene for index in range(300)}

    assert count_combinations(large) == 700 * 699 * 4 * 3
    assert len(scenes) == 300


def test_a_scene_is_a_pure_function_of_seed_and_index() -> None:
    longer = LONE.model_copy(update={"num_scenes": 10_000, "shard_rows": 7})
    other = LONE.model_copy(update={"seed": 1})

    assert [deal_scene(longer, index) for index in range(50)] == [deal_scene(LONE, index) for index in range(50)]
    assert [deal_scene(other, index) for index in range(50)] != [deal_scene(LONE, index) for index in range(50)]


def test_displacements_fill_the_jitter_and_never_exceed_it() -> None:
    moves = [move for index in range(200) for pair in deal_scene(PAIR, index).displacements for move in pair]

    assert len(moves) == 800
    assert max(moves) <= 0.02 and min(moves) >= -0.02
    assert max(moves) > 0.018 and min(moves) < -0.018


def test_about_the_stated_share_of_combinations_is_held_out() -> None:
    large = LONE.model_copy(update={"objects": tuple(f"object {number}" for number in range(200))})
    count = count_combinations(large)

    held_out = sum(is_held_out(large, combination(large, number)) for number in range(count))

    assert held_out / count == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / count) ** 0.5)  # four standard deviations


def test_two_captions_of_one_picture_are_held_out_together() -> None:
    scenes = [combination(PAIR, number) for number in range(count_combinations(PAIR))]
    outcomes = {(group_of(scene), is_held_out(PAIR, scene)) for scene in scenes}

    assert len(outcomes) == len({group for group, _ in outcomes}) == len(scenes) / 2


def test_an_added_object_leaves_the_others_held_out_as_before() -> None:
    longer = LONE.model_copy(update={"objects": (*LONE.objects, "rocket")})
    scenes = [combination(LONE, number) for number in range(72)]

    assert [is_held_out(longer, scene) for scene in scenes] == [is_held_out(LONE, scene) for scene in scenes]


@pytest.mark.parametrize("config", [LONE, PAIR])
def test_a_sound_deal_passes(config: ScenesConfig) -> None:
    check_deal(config)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (LONE, {"num_scenes": 3}, "background 'white', object 'fox', object 'red apple' (3 missing)"),
        (LONE, {"held_out_fraction": 0.99}, "leaves no training picture with"),
        (PAIR, {"num_scenes": 8}, "first object 'fox'"),
        (LONE, {"held_out_fraction": 1e-6}, "holds out no combination"),
    ],
)
def test_an_attribute_without_training_pictures_is_named(
    config: ScenesConfig, change: dict[str, int | float], message: str
) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml: ingest\.scenes\.held_out_fraction") as error:
        check_deal(config.model_copy(update=change))

    assert message in str(error.value)


def test_a_scene_of_one_combination_can_be_dealt() -> None:
    single = LONE.model_copy(
        update={"objects": ("fox",), "backgrounds": ("white",), "positions": ("center",), "sizes": ("large",)}
    )

    assert deal_scene(single, 5).scene == Scene((SceneObject("fox", "large", "center"),), None, "white")
