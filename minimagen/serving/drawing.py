"""A request drawn by a cascade: the pictures of every stage and, if wanted, how they came out of the noise.

The same caption, seed and number give the picture that ``minimagen sample`` draws. Knows no queue and no server.
"""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from PIL import Image

from minimagen.datasets.transforms import to_pixels
from minimagen.diffusion.cascade import CascadeState
from minimagen.diffusion.samplers import SamplerState
from minimagen.errors import UserError
from minimagen.pipeline import Cascade, StageOverrides, sample_names
from minimagen.serving.request import PictureRequest, RequestError
from minimagen.shapes import Conditioning, PixelImage, PixelImages

NUM_FRAMES = 8
"""Pictures of a strip, the last one the result."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """All pictures of a request, prompt by prompt."""

    prompts: tuple[str, ...]
    """The prompt of each picture."""
    sample_ids: tuple[str, ...]
    """The name of each picture's noise."""
    pixels: Mapping[str, PixelImages]
    """Pictures of each stage, by its name, in cascade order."""
    strips: Mapping[str, PixelImages]
    """Of each stage, by its name: each picture's way from noise, frames side by side; empty if not asked for."""


def draw(
    cascade: Cascade, request: PictureRequest, *, has_strips: bool = False, check: Callable[[], None] = lambda: None
) -> Drawing:
    """Draws a request.

    Args:
        check: called after every step; what it raises ends the drawing.

    Raises:
        RequestError: the cascade was not trained for the guidance or the negative prompt that is asked for.
    """
    overrides = StageOverrides(request.steps or None, request.guidance_scale or None)
    negative = request.negative_prompt or None
    try:
        cascade.check(request.prompts, overrides, negative)
    except UserError as error:
        raise RequestError(str(error)) from None
    names = sample_names(request.prompts, request.num_images)
    repeated = tuple(prompt for prompt in request.prompts for _ in range(request.num_images))
    away = None if negative is None else Conditioning(*cascade.encode([negative]))
    states = cascade.walk(
        *cascade.encode(repeated), seed=request.seed, sample_ids=names, overrides=overrides, negative=away
    )
    pixels, strips = _collect(states, has_strips, check)
    return Drawing(repeated, names, pixels, strips)


def png_base64(pixels: PixelImage) -> str:
    """Returns a picture as PNG in base64, with nothing in the file but the picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def predictions_of(drawing: Drawing, request: PictureRequest) -> list[dict[str, object]]:
    """Returns what a served model answers: an object per picture and stage, in cascade order."""
    return [
        {
            "prompt": prompt,
            "number": index % request.num_images,
            "seed": request.seed,
            "stage": stage,
            "size_px": int(pixels.shape[1]),
            "png_base64": png_base64(pixels[index]),
        }
        for index, prompt in enumerate(drawing.prompts)
        for stage, pixels in drawing.pixels.items()
    ]


def _collect(
    states: Iterator[CascadeState], has_strips: bool, check: Callable[[], None]
) -> tuple[dict[str, PixelImages], dict[str, PixelImages]]:
    pixels: dict[str, PixelImages] = {}
    frames: dict[str, list[PixelImages]] = {}
    for one in states:
        check()
        if has_strips and _is_frame(one.state):
            frames.setdefault(one.stage, []).append(to_pixels(one.state.xt))
        if one.state.step == one.state.num_steps:
            pixels[one.stage] = to_pixels(one.state.xt)
    strips = {name: rearrange(np.stack(shown), "f n h w c -> n h (f w) c") for name, shown in frames.items()}
    return pixels, strips


def _is_frame(state: SamplerState) -> bool:
    """Whether a step is one of ``NUM_FRAMES`` that lie evenly, the last one among them."""
    count = min(NUM_FRAMES, state.num_steps)
    return state.step * count // state.num_steps > (state.step - 1) * count // state.num_steps
