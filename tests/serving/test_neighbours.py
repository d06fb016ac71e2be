import numpy as np
import pytest

from minimagen.serving.neighbours import TrainingPictures

NUM = 300


class Listed:
    """Pictures in a list."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def picture(self, position: int) -> np.ndarray:
        return self._pixels[position]

    def __len__(self) -> int:
        return len(self._pixels)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth pictures: four colours each, enlarged, so that they survive being made small."""
    coarse = np.random.default_rng(0).integers(0, 256, (NUM, 2, 2, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


def test_a_copy_is_nearest_at_distance_zero(pixels: np.ndarray) -> None:
    training = TrainingPictures(Listed(pixels), [f"caption {number}" for number in range(NUM)])

    found = training.nearest(pixels[[7, 299]], 2)

    assert [near[0].caption for near in found] == ["caption 7", "caption 299"]
    assert [near[0].distance for near in found] == [0.0, 0.0]
    assert np.array_equal(found[1][0].pixels, pixels[299])


def test_the_nearest_are_those_of_a_search_of_all_at_full_size(pixels: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    drawn = np.clip(pixels[:5] + rng.normal(0, 30, pixels[:5].shape), 0, 255).astype(np.uint8)
    training = TrainingPictures(Listed(pixels), [str(number) for number in range(NUM)])

    found = training.nearest(drawn, 3)

    differences = (drawn[:, None].astype(float) - pixels[None].astype(float)) / 127.5
    distances = np.sqrt((differences**2).mean(axis=(2, 3, 4)))
    for row, near in zip(distances, found, strict=True):
        order = np.argsort(row, kind="stable")[:3]
        assert [one.caption for one in near] == [str(number) for number in order]
        assert [one.distance for one in near] == pytest.approx(row[order], abs=1e-6)


def test_drawn_pictures_may_be_of_another_size_and_training_ones_few(pixels: np.ndarray) -> None:
    training = TrainingPictures(Listed(pixels[:2]), ["a", "b"])

    found = training.nearest(pixels[1:2, ::2, ::2], 3)

    assert [one.caption for one in found[0]] == ["b", "a"]
    assert found[0][0].distance < 0.1
