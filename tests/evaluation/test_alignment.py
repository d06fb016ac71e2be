"""The scorer against pictures whose content is known.

Measured on 300 held-out scenes of the demo (joint share right): clean 1.00 at 16, 32 and 64 px; at 32 px noise of
standard deviation 50: 1.00, 100: 1.00, 200: 0.95; Gaussian blur of 1 px: 1.00, 2 px: 0.70, 4 px: 0.07.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from minimagen.config import ScenesConfig, load_params
from minimagen.evaluation.alignment import (
    AlignmentScore,
    SceneReader,
    SceneScore,
    chance_levels,
    mean_score,
    other_captions,
)
from minimagen.sources.scene_deal import combination, count_combinations, deal_scene
from minimagen.sources.scene_drawing import Sprites, draw_scene, read_sprites
from minimagen.sources.scene_grammar import RELATIONS, Scene, SceneObject
from minimagen.sources.scenes import complete_config

CHECKOUT = Path(__file__).parents[2]
NUM_PICTURES = 150


@lru_cache
def demo_sprites() -> Sprites:
    return read_sprites(CHECKOUT / "data/assets/sprites.parquet", demo_config().objects)


@lru_cache
def demo_config() -> ScenesConfig:
    scenes = load_params(CHECKOUT / "experiments/demo.yaml").ingest.scenes
    assert scenes is not None
    return complete_config(scenes, CHECKOUT / "data/assets/sprites.parquet")


def pair_config() -> ScenesConfig:
    return demo_config().model_copy(update={"positions": (), "relations": tuple(RELATIONS)})


@lru_cache
def held_out(is_pair: bool, size: int) -> tuple[list[Scene], np.ndarray]:
    """Held-out scenes as the data has them: drawn at 64 px with jitter, then resized."""
    config = pair_config() if is_pair else demo_config()
    dealt = [deal_scene(config, index) for index in range(6 * NUM_PICTURES + 300)]
    dealt = [one for one in dealt if one.is_held_out][:NUM_PICTURES]
    pictures = [draw_scene(one.scene, demo_sprites(), config.size, one.displacements) for one in dealt]
    resized = [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    return [one.scene for one in dealt], np.stack([np.asarray(picture) for picture in resized])


def score(images: np.ndarray, scenes: list[Scene], config: ScenesConfig) -> AlignmentScore:
    reader = SceneReader(config, demo_sprites())
    readings = reader.read(images)
    return mean_score([reader.score(reading, scene) for reading, scene in zip(readings, scenes, strict=True)])


def blurred(images: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))) for image in images])


def noisy(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("is_pair", [False, True])
def test_real_held_out_pictures_are_right_in_everything(is_pair: bool, size: int) -> None:
    scenes, images = held_out(is_pair, size)

    found = score(images, scenes, pair_config() if is_pair else demo_config())

    assert found.joint >= 0.99
    assert min(found.attributes.values()) >= 0.99


def test_the_whole_vocabulary_of_the_demo_is_right_at_16_px() -> None:
    config = demo_config()
    scenes = [combination(config, number) for number in range(count_combinations(config))]
    images = np.stack([draw_scene(scene, demo_sprites(), 16) for scene in scenes])

    assert score(images, scenes, config).joint == 1.0


@pytest.mark.parametrize("is_pair", [False, True])
def test_wrong_captions_score_as_chance(is_pair: bool) -> None:
    config = pair_config() if is_pair else demo_config()
    scenes, images = held_out(is_pair, 32)

    found = score(images, [scenes[index] for index in other_captions(scenes, seed=0)], config)

    assert found.joint <= 0.02
    for name, chance in chance_levels(config).attributes.items():
        assert abs(found.attributes[name] - chance) <= 0.13, name  # three standard deviations of a half in 150


def test_mild_noise_and_blur_change_little() -> None:
    scenes, images = held_out(False, 32)

    assert score(noisy(images, 50), scenes, demo_config()).joint >= 0.98
    assert score(blurred(images, 1), scenes, demo_config()).joint >= 0.98


def test_pictures_blurred_beyond_recognition_fall() -> None:
    scenes, images = held_out(False, 32)

    found = score(blurred(images, 4), scenes, demo_config())

    assert found.attributes["object"] <= 0.4
    assert found.joint <= 0.15
    assert found.attributes["background"] >= 0.99  # blur leaves it


def test_noise_alone_scores_as_chance() -> None:
    scenes, images = held_out(False, 32)
    pure_noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)

    assert score(pure_noise, scenes, demo_config()).joint <= 0.02


def test_a_bare_background_shows_no_object_size_or_position() -> None:
    scenes, _ = held_out(False, 32)
    bare = np.full((len(scenes), 32, 32, 3), 255, np.uint8)

    found = score(bare, scenes, demo_config())

    assert found.attributes == {
        "background": sum(scene.background == "white" for scene in scenes) / len(scenes),
        "object": 0,
        "size": 0,
        "position": 0,
    }


def test_a_flat_patch_in_the_right_colour_and_place_is_often_taken_for_its_object() -> None:
    """States a weakness: the nearest known object is read, so the mean colour alone earns something, not everything."""
    flat = {}
    for name, picture in demo_sprites().pixels.items():
        opacity = picture[..., 3:] / 255
        colour = (picture[..., :3] * opacity).sum((0, 1)) / opacity.sum()
        rows, columns = np.mgrid[:64, :64] - 31.5
        disc = rows**2 + columns**2 <= opacity.sum() / np.pi
        flat[name] = np.concatenate([np.full((64, 64, 3), colour), 255 * disc[..., None]], axis=2).astype(np.uint8)
    scenes, _ = held_out(False, 32)

    found = score(np.stack([draw_scene(scene, Sprites(flat), 32) for scene in scenes]), scenes, demo_config())

    assert 0.2 <= found.attributes["object"] <= 0.6


ONE = Scene((SceneObject("fox", "small", "top left"),), None, "blue")


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        (ONE, None),
        (Scene((SceneObject("frog", "small", "top left"),), None, "blue"), "object"),
        (Scene((SceneObject("fox", "large", "top left"),), None, "blue"), "size"),
        (Scene((SceneObject("fox", "small", "bottom right"),), None, "blue"), "position"),
        (Scene((SceneObject("fox", "small", "top left"),), None, "pink"), "background"),
    ],
)
def test_each_attribute_of_one_object_is_judged_alone(shown: Scene, wrong: str | None) -> None:
    reader = SceneReader(demo_config(), demo_sprites())
    reading = reader.read(draw_scene(shown, demo_sprites(), 32)[None])[0]

    found = reader.score(reading, ONE)

    assert [name for name, is_right in found.attributes.items() if not is_right] == ([wrong] if wrong else [])
    assert found.joint == (wrong is None)


def pair(first: str, relation: str, second: str) -> Scene:
    return Scene((SceneObject(first), SceneObject(second)), relation, "blue")


@pytest.mark.parametrize(
    ("shown", "objects", "relation"),
    [
        (pair("fox", "left of", "frog"), True, True),
        (pair("frog", "right of", "fox"), True, True),
        (pair("frog", "left of", "fox"), True, False),
        (pair("fox", "above", "frog"), True, False),
        (pair("fox", "left of", "globe"), False, True),
        (pair("globe", "left of", "fox"), False, False),
    ],
)
def test_objects_and_relation_are_judged_apart(shown: Scene, objects: bool, relation: bool) -> None:
    reader = SceneReader(pair_config(), demo_sprites())
    reading = reader.read(draw_scene(shown, demo_sprites(), 32)[None])[0]

    found = reader.score(reading, pair("fox", "left of", "frog"))

    assert found.attributes == {"background": True, "objects": objects, "relation": relation}


def test_chance_is_one_over_the_number_of_choices() -> None:
    assert chance_levels(demo_config()).joint == pytest.approx(1 / count_combinations(demo_config()))
    # Half of the captions with a relation describe the picture of another caption.
    assert chance_levels(pair_config()).joint == pytest.approx(2 / count_combinations(pair_config()))


def test_chance_is_what_pictures_of_random_scenes_reach() -> None:
    config = demo_config()
    scenes, _ = held_out(False, 32)
    drawn = [combination(config, number) for number in np.random.default_rng(0).integers(0, 720, len(scenes))]

    found = score(np.stack([draw_scene(scene, demo_sprites(), 16) for scene in drawn]), scenes, config)

    for name, chance in chance_levels(config).attributes.items():
        assert abs(found.attributes[name] - chance) <= 3 * (chance * (1 - chance) / len(scenes)) ** 0.5, name


def test_relations_of_one_axis_are_told_apart_on_that_axis_alone() -> None:
    config = pair_config().model_copy(update={"relations": ("left of", "right of")})
    reader = SceneReader(config, demo_sprites())
    reading = reader.read(draw_scene(pair("fox", "right of", "frog"), demo_sprites(), 32)[None])[0]

    assert reading.costs.shape == (2, len(config.objects))
    assert reader.score(reading, pair("fox", "right of", "frog")).joint
    assert chance_levels(config).attributes["relation"] == 0.5


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene((SceneObject("axe", "small", "center"),), None, "blue"), "object 'axe' is not of this data set"),
        (Scene((SceneObject("fox", "small", "center"),), None, "brown"), "background 'brown'"),
        (Scene((SceneObject("fox", "small", "top"),), None, "blue"), "position 'top'"),
        (pair("fox", "above", "frog"), "relation 'above' is not of this data set (none)"),
    ],
)
def test_a_caption_of_another_vocabulary_is_refused(scene: Scene, message: str) -> None:
    reader = SceneReader(demo_config(), demo_sprites())
    reading = reader.read(np.zeros((1, 16, 16, 3), np.uint8))[0]

    with pytest.raises(ValueError) as error:
        reader.score(reading, scene)

    assert message in str(error.value)


def test_shares_are_means_over_pictures() -> None:
    scores = [SceneScore({"object": True, "size": True}), SceneScore({"object": True, "size": False})]

    assert mean_score(scores) == AlignmentScore(0.5, {"object": 1.0, "size": 0.5})


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_no_caption_meets_its_own(repeats: int) -> None:
    scenes = held_out(False, 32)[0][:20] * repeats

    others = other_captions(scenes, seed=1)

    assert sorted(others) == list(range(len(scenes)))
    assert all(scenes[index] != scene for scene, index in zip(scenes, others, strict=True))
    assert others != other_captions(scenes, seed=2)


def test_captions_that_cannot_be_exchanged_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of 3 captions are equal"):
        other_captions([ONE, ONE, pair("fox", "above", "frog")], seed=0)
