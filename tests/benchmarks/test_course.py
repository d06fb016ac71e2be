import numpy as np
import pytest
import torch

from benchmarks.course import Captioned, changed, demo_params, open_course, trained_model


def captioned(num_pictures: int = 6) -> Captioned:
    source = np.random.default_rng(0)
    pixels = list(source.integers(0, 256, (num_pictures, 16, 16, 3), dtype=np.uint8))
    tokens = [source.standard_normal((2 + number, 24), dtype=np.float32) for number in range(num_pictures)]
    return Captioned([f"caption {number}" for number in range(num_pictures)], pixels, tokens)


def test_data_set_gives_back_its_pictures_and_captions() -> None:
    given = captioned()

    batch = given.dataset().batch([4, 1], seed=0)

    assert batch.text_mask.sum(dim=1).tolist() == [6, 3]
    torch.testing.assert_close(batch.text_embeds[1, :3], torch.from_numpy(given.tokens[1]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(batch.images[0].permute(1, 2, 0), torch.from_numpy(given.pixels[4]) / 127.5 - 1)


def test_changed_section_is_checked_as_params_are() -> None:
    section = demo_params().unets["base"]

    assert changed(section, training__batch_size=5, unet__dim=16).unet.dim == 16
    with pytest.raises(KeyError, match=r"training\.batch"):
        changed(section, training__batch=5)
    with pytest.raises(ValueError, match="image_size 18 is not divisible"):
        changed(section, image_size=18)


def test_course_trains_and_its_averages_can_be_drawn_from() -> None:
    section = changed(demo_params().unets["base"], training__batch_size=4, unet__dim=8)

    course = open_course(section, captioned().dataset(), name="base", num_steps=3, device=torch.device("cpu"))
    reports = list(course.steps())
    model = trained_model(course)

    assert [report.step for report in reports] == [1, 2, 3]
    assert model.record.num_steps == 3
    assert set(model.tensors) == {name for name, _ in course.state.network.named_parameters()}
