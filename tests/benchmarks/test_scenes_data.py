import numpy as np

from benchmarks.course import demo_params
from benchmarks.laboratory import alignment, held_out_positions
from benchmarks.scenes_data import open_scenes
from minimagen.datasets.transforms import to_pixels
from minimagen.sources.scene_grammar import caption_of, read_extra

SIZE_PX = 32


def test_splits_are_the_demos_and_real_pictures_score_as_right() -> None:
    splits = open_scenes(demo_params(), SIZE_PX, num_scenes=200)
    positions = held_out_positions(splits, 24)
    pictures = splits.held_out.batch(positions, seed=0)
    scenes = [splits.held_out_scenes[position] for position in positions]

    scores = alignment(to_pixels(pictures.images), scenes, splits.drawn)

    assert len(splits.training) + len(splits.held_out) == 200
    assert all(read_extra(extra).is_held_out for extra in splits.held_out.extras)
    assert not {*splits.training.captions} & {*splits.held_out.captions}
    assert [splits.held_out.captions[position] for position in positions] == [caption_of(scene) for scene in scenes]
    assert scores["joint"] > 0.95
    assert scores["shuffled"] < 0.2
    assert np.isclose(np.mean([len(splits.training) / 200]), 0.8, atol=0.1)
