import base64
import io

import numpy as np
import pytest
from PIL import Image

from minimagen.pipeline import Cascade, StageOverrides
from minimagen.serving.drawing import draw, png_base64, predictions_of
from minimagen.serving.request import PictureRequest, RequestError
from tests.small_cascade import CORPUS, write_small_cascade

APPLE, FROG = CORPUS


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    return Cascade.load(write_small_cascade(tmp_path_factory.mktemp("cascade")))


def test_pictures_are_those_that_the_cascade_samples(cascade: Cascade) -> None:
    asked = PictureRequest(prompts=(APPLE, FROG), seed=3, num_images=2, steps=2, negative_prompt="pink")

    drawing = draw(cascade, asked)

    expected = cascade.sample(
        [APPLE, FROG], seed=3, num_per_caption=2, overrides=StageOverrides(num_steps=2), negative="pink"
    )
    assert drawing.prompts == expected.captions and drawing.sample_ids == expected.sample_ids
    for stage, pixels in expected.pixels.items():
        assert np.array_equal(drawing.pixels[stage], pixels)
    assert drawing.strips == {}


@pytest.mark.parametrize(("steps", "frames"), [(1, 1), (3, 3), (8, 8), (11, 8)])
def test_a_strip_goes_from_noise_to_the_picture(cascade: Cascade, steps: int, frames: int) -> None:
    drawing = draw(cascade, PictureRequest(prompts=(APPLE,), steps=steps), has_strips=True)

    assert drawing.strips["base"].shape == (1, 8, frames * 8, 3)
    assert drawing.strips["super"].shape == (1, 16, frames * 16, 3)
    for stage, size in (("base", 8), ("super", 16)):
        assert np.array_equal(drawing.strips[stage][:, :, -size:], drawing.pixels[stage])


def test_a_check_ends_the_drawing_at_its_next_step(cascade: Cascade) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(cascade, PictureRequest(prompts=(APPLE,)), check=check)
    assert len(calls) == 2


def test_what_the_cascade_was_not_trained_for_is_refused(cascade: Cascade) -> None:
    with pytest.raises(RequestError, match="no stage has guidance"):
        draw(cascade, PictureRequest(prompts=(APPLE,), negative_prompt="pink", guidance_scale=1.0))


def test_answers_hold_each_stage_of_each_picture_and_nothing_but_pixels(cascade: Cascade) -> None:
    asked = PictureRequest(prompts=(APPLE,), num_images=2, seed=5)

    answers = predictions_of(draw(cascade, asked), asked)

    assert [(one["number"], one["stage"], one["size_px"]) for one in answers] == [
        (0, "base", 8),
        (0, "super", 16),
        (1, "base", 8),
        (1, "super", 16),
    ]
    content = base64.b64decode(str(answers[1]["png_base64"]))
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG" and picture.size == (16, 16) and picture.info == {}


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    with Image.open(io.BytesIO(base64.b64decode(png_base64(pixels)))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)
