"""Reads drawn scenes back from their pixels: the background's colour, and how well each object fits each place.

Not learned: objects are templates, drawn as the data is drawn. Does not know captions, nor how a picture was made.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange, reduce

from minimagen.shapes import PixelImages
from minimagen.sources.scene_drawing import lay_sprite, scale_sprite
from minimagen.sources.scene_grammar import BACKGROUNDS

TEMPLATE_STEP_PX = 1.5
"""Templates cover the displacements of the data in steps of at most this."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object may stand: center (x to the right, y down) and longest side, in picture sides."""

    x: float
    y: float
    side: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one picture shows."""

    background: str
    costs: np.ndarray
    """(places, objects): how much the best template of an object at a place changes the mean squared error of the
    bare background; the lowest is what stands there, and nothing stands there unless it is below 0."""


@dataclass(frozen=True, slots=True)
class Templates:
    """One object at one place in all its displacements: colours multiplied by alpha, and alpha."""

    colours: np.ndarray
    alphas: np.ndarray


def read_scenes(
    images: PixelImages,
    *,
    backgrounds: Sequence[str],
    sprites: Sequence[np.ndarray],
    places: Sequence[Place],
    jitter: float,
) -> list[Reading]:
    """Reads square pictures of one size.

    Args:
        backgrounds: names of the colours that are told apart; the nearest to the median of the border is read.
        sprites: pictures of the objects that are told apart, uint8 RGBA.
        jitter: largest displacement looked for, in picture sides.
    """
    size = images.shape[1]
    pixels = rearrange(images, "n row column rgb -> n (row column) rgb").astype(np.float32) / 255
    grounds = np.median(pixels[:, _border(size)], axis=1)  # (n, rgb)
    known = np.array([BACKGROUNDS[name] for name in backgrounds], np.float32) / 255
    nearest = np.square(grounds[:, None] - known).sum(axis=2).argmin(axis=1)
    figures = pixels - grounds[:, None]
    costs = np.empty((len(images), len(places), len(sprites)), np.float32)
    for column, sprite in enumerate(sprites):
        for row, templates in enumerate(_templates(sprite, places, jitter, size)):
            costs[:, row, column] = _template_costs(figures, grounds, templates).min(axis=1)
    return [Reading(backgrounds[int(index)], cost) for index, cost in zip(nearest, costs, strict=True)]


def _border(size: int) -> np.ndarray:
    """Returns which of the pixels, row by row, are on the picture's outermost ring."""
    is_border = np.ones((size, size), bool)
    is_border[1:-1, 1:-1] = False
    return is_border.ravel()


def _templates(sprite: np.ndarray, places: Sequence[Place], jitter: float, size: int) -> Iterator[Templates]:
    num_steps = 2 * math.ceil(jitter * size / TEMPLATE_STEP_PX) + 1
    moves = np.linspace(-jitter, jitter, num_steps) if num_steps > 1 else [0.0]
    scaled = {side: scale_sprite(sprite, side=side, size=size) for side in {place.side for place in places}}
    for place in places:
        layers = [
            lay_sprite(scaled[place.side], x=place.x + right, y=place.y + down, size=size)
            for right in moves
            for down in moves
        ]
        flat = rearrange(np.stack(layers), "template row column rgba -> template (row column) rgba")
        yield Templates(flat[..., :3], flat[..., 3])


def _template_costs(figures: np.ndarray, grounds: np.ndarray, templates: Templates) -> np.ndarray:
    """Returns mean |picture - template on its ground|^2 - mean |picture - ground|^2 for each picture and template.

    With D = picture - ground g, P = colours and A = alpha of the template, the template on the ground differs from
    the ground by F = P - A g, and |D - F|^2 - |D|^2 = |F|^2 - 2 D.F: only pixels that the template covers count.
    """
    covered = templates.alphas.any(axis=0)
    colours, alphas = templates.colours[:, covered], templates.alphas[:, covered]
    num_values, figures = figures[0].size, figures[:, covered]
    on_figures = np.einsum("npc,tpc->nt", figures, colours, optimize=True)
    under = np.einsum("npc,nc->np", figures, grounds, optimize=True) @ alphas.T
    own = reduce(np.square(colours), "t p c -> t", "sum")
    mixed = grounds @ np.einsum("tpc,tp->ct", colours, alphas, optimize=True)
    squares = np.square(grounds).sum(axis=1)[:, None] * np.square(alphas).sum(axis=1)
    return (own - 2 * mixed + squares - 2 * (on_figures - under)) / num_values
