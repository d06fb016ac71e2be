"""The benchmark of the monitor on a few steps: both data sets, and numbers at each check."""

from benchmarks.course import demo_params
from benchmarks.memorising import few_of, watch_training
from benchmarks.scenes_data import open_scenes
from minimagen.training.curves import SEEN_LOSS, VALIDATION_LOSS


def test_few_pictures_keep_their_captions_and_each_check_has_its_numbers() -> None:
    splits = open_scenes(demo_params(), 16, num_scenes=60)
    few = few_of(splits.training, 5)

    checks = list(watch_training(splits, few, seed=0, num_steps=2, every=1))

    assert len(set(few.captions)) == 5 and few.captions[2] in splits.training.captions
    assert (few.pictures.picture(0) == splits.training.pictures.picture(0)).all()
    assert [step for step, *_ in checks] == [1, 2]
    assert all(found[SEEN_LOSS] > 0 and found[VALIDATION_LOSS] > 0 and text for _, found, text, _ in checks)
