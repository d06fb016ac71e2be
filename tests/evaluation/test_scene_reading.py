import numpy as np
import pytest

from minimagen.evaluation.scene_reading import Place, read_scenes
from minimagen.sources.scene_drawing import lay_sprite, scale_sprite
from minimagen.sources.scene_grammar import BACKGROUNDS

PLACES = (Place(0.5, 0.5, 0.6), Place(0.25, 0.3, 0.3), Place(0.9, 0.9, 0.5))


def make_sprites(num: int = 3, side: int = 12) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (num, side, side, 4), dtype=np.uint8))


def squared_error_drop(image: np.ndarray, layer: np.ndarray, ground: np.ndarray) -> float:
    """The definition, pixel by pixel: mean |picture - template on ground|^2 - mean |picture - ground|^2."""
    pixels = image.astype(float) / 255
    drawn = layer[..., :3] + (1 - layer[..., 3:]) * ground
    return float(np.square(pixels - drawn).mean() - np.square(pixels - ground).mean())


@pytest.mark.parametrize("size", [7, 16])
def test_costs_equal_the_pixel_by_pixel_definition(size: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    images[:, [0, -1]] = images[:, :, [0, -1]] = BACKGROUNDS["pink"]
    sprites, ground = make_sprites(), np.array(BACKGROUNDS["pink"]) / 255

    readings = read_scenes(images, backgrounds=["blue", "pink"], sprites=sprites, places=PLACES, jitter=0.0)

    for image, reading in zip(images, readings, strict=True):
        assert reading.background == "pink"
        for row, place in enumerate(PLACES):
            for column, sprite in enumerate(sprites):
                scaled = scale_sprite(sprite, side=place.side, size=size)
                layer = lay_sprite(scaled, x=place.x, y=place.y, size=size)
                expected = squared_error_drop(image, layer, ground)
                assert reading.costs[row, column] == pytest.approx(expected, abs=1e-5)


def test_displaced_objects_are_looked_for_within_the_jitter() -> None:
    sprite, place = np.full((8, 8, 4), (200, 30, 60, 255), np.uint8), Place(0.5, 0.5, 0.5)
    layer = lay_sprite(scale_sprite(sprite, side=0.5, size=20), x=0.6, y=0.4, size=20)
    image = np.rint(255 * (layer[..., :3] + (1 - layer[..., 3:]))).astype(np.uint8)[None]

    still, moved = (
        read_scenes(image, backgrounds=["white"], sprites=[sprite], places=[place], jitter=jitter)[0].costs[0, 0]
        for jitter in (0.0, 0.1)
    )

    energy = np.square(image / 255 - 1).mean()
    assert moved == pytest.approx(-energy, rel=0.01)  # explained entirely
    assert still > moved / 2


def test_a_bare_background_has_no_object() -> None:
    image = np.full((1, 16, 16, 3), BACKGROUNDS["blue"], np.uint8)

    reading = read_scenes(image, backgrounds=list(BACKGROUNDS), sprites=make_sprites(), places=PLACES, jitter=0.02)[0]

    assert reading.background == "blue"
    assert reading.costs.min() > 0


def test_a_picture_is_read_the_same_alone_and_in_a_batch() -> None:
    images = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)

    def costs(batch: np.ndarray) -> np.ndarray:
        readings = read_scenes(batch, backgrounds=["red"], sprites=make_sprites(), places=PLACES, jitter=0.05)
        return np.stack([reading.costs for reading in readings])

    np.testing.assert_allclose(costs(images), np.concatenate([costs(image[None]) for image in images]), atol=1e-6)


def test_the_background_is_read_although_an_object_covers_part_of_the_border() -> None:
    image = np.full((1, 20, 20, 3), BACKGROUNDS["green"], np.uint8)
    image[0, :12, :9] = (255, 0, 255)

    reading = read_scenes(image, backgrounds=list(BACKGROUNDS), sprites=[], places=PLACES, jitter=0.0)[0]

    assert reading.background == "green"
