"""Captions scored on pictures that are drawn, hence right, or wrong in a known way."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from minimagen.config import ScenesConfig
from minimagen.evaluation.caption_scores import score_captions
from minimagen.sources.scene_drawing import Sprites, draw_scene, read_sprites
from minimagen.sources.scene_grammar import Scene, SceneObject

OBJECTS, BACKGROUNDS = ("banana", "frog"), ("white", "blue")
CONFIG = ScenesConfig(
    num_scenes=8,
    seed=0,
    size=24,
    objects=OBJECTS,
    backgrounds=BACKGROUNDS,
    positions=("left", "right"),
    sizes=("large",),
    held_out_fraction=0.5,
    jitter=0.0,
    shard_rows=8,
)
SCENES = [
    Scene((SceneObject(name, "large", position),), None, background)
    for name, position, background in product(OBJECTS, CONFIG.positions, BACKGROUNDS)
]


@pytest.fixture(scope="module")
def sprites() -> Sprites:
    return read_sprites(Path(__file__).parents[2] / "data/assets/sprites.parquet", OBJECTS)


def test_true_pictures_are_right_and_shuffled_ones_are_not(sprites: Sprites):
    pixels = np.stack([draw_scene(scene, sprites, 24) for scene in SCENES])

    found = score_captions(pixels, SCENES, config=CONFIG, sprites=sprites, seed=0).alignment

    assert (found.joint.share.num_right, found.joint.share.num_total) == (8, 8)
    assert found.joint.shuffled == 0.0
    assert found.joint.chance == pytest.approx(1 / 8)
    assert {one.name: one.share.value for one in found.attributes} == dict.fromkeys(
        ("background", "object", "size", "position"), 1.0
    )


def test_a_wrong_background_is_wrong_in_that_alone(sprites: Sprites):
    shown = Scene(SCENES[0].objects, None, "blue" if SCENES[0].background == "white" else "white")
    pixels = np.stack([draw_scene(scene, sprites, 24) for scene in (shown, *SCENES[1:])])

    found = score_captions(pixels, SCENES, config=CONFIG, sprites=sprites, seed=0)

    assert found.scores[0].attributes == {"background": False, "object": True, "size": True, "position": True}
    assert found.alignment.joint.share.num_right == 7


def test_one_caption_has_no_other_to_be_shuffled_with(sprites: Sprites):
    pixels = draw_scene(SCENES[0], sprites, 24)[None]

    found = score_captions(pixels, SCENES[:1], config=CONFIG, sprites=sprites, seed=0).alignment

    assert found.joint.shuffled is None
    assert found.joint.share.value == 1.0
