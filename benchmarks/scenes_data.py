"""The demo's pictures and captions, drawn and encoded in memory by the library's own functions, without DVC.

Knows no network. Which scenes there are, and which are held out, is the demo's own deal.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.course import CHECKOUT, Captioned
from minimagen.config import Params, ScenesConfig
from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.transforms import resize_pixels
from minimagen.shapes import PixelImage
from minimagen.sources.scene_deal import DealtScene, deal_scene
from minimagen.sources.scene_drawing import Sprites, draw_scene, read_sprite_names, read_sprites
from minimagen.sources.scene_grammar import Scene, caption_of, grammar_corpus, write_extra
from minimagen.sources.scenes import SOURCE, complete_config
from minimagen.stages.text_encoder import SPRITES, WORDS
from minimagen.text.locate import hash_folder
from minimagen.text.names import TINY
from minimagen.text.t5 import TextEncoder
from minimagen.text.tiny import build_tiny

MAX_TOKENS = 64
BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class DrawnScenes:
    """Scenes as pictures of one size."""

    config: ScenesConfig
    """With every object named."""
    sprites: Sprites
    dealt: Sequence[DealtScene]
    pixels: Sequence[PixelImage]

    @property
    def captions(self) -> list[str]:
        """What each picture shows."""
        return [caption_of(one.scene) for one in self.dealt]

    def pictures(self) -> Iterator[Image.Image]:
        """Yields each picture as Pillow has it."""
        return (Image.fromarray(one) for one in self.pixels)


@dataclass(frozen=True, slots=True)
class SceneSplits:
    """The demo's two splits, ready for training and scoring."""

    drawn: DrawnScenes
    training: CaptionedImages
    held_out: CaptionedImages
    held_out_scenes: Sequence[Scene]


def draw_scenes(params: Params, size_px: int, *, num_scenes: int | None = None) -> DrawnScenes:
    """Draws the demo's scenes as it draws them, shrunk to ``size_px``.

    Args:
        num_scenes: None is as many as the demo has.
    """
    assert params.ingest.scenes is not None  # The demo has scenes.
    sheet = CHECKOUT / params.sources[SOURCE]
    config = complete_config(params.ingest.scenes, sheet)
    sprites = read_sprites(sheet, set(config.objects))
    dealt = [deal_scene(config, index) for index in range(num_scenes or config.num_scenes)]
    drawn = (draw_scene(one.scene, sprites, config.size, one.displacements) for one in dealt)
    return DrawnScenes(config, sprites, dealt, [resize_pixels(picture, size_px) for picture in drawn])


def scene_captions(params: Params, num_captions: int) -> list[str]:
    """Returns the captions of the demo's first scenes; up to 720 they are distinct."""
    assert params.ingest.scenes is not None  # The demo has scenes.
    return [caption_of(deal_scene(params.ingest.scenes, index).scene) for index in range(num_captions)]


def open_scenes(params: Params, size_px: int, *, num_scenes: int | None = None) -> SceneSplits:
    """Draws the demo's scenes, encodes their captions with the built-in encoder and splits them as the demo does."""
    drawn = draw_scenes(params, size_px, num_scenes=num_scenes)
    tokens = encode(drawn.captions)
    splits = {
        is_held_out: _select(
            drawn, tokens, [row for row, one in enumerate(drawn.dealt) if one.is_held_out == is_held_out]
        )
        for is_held_out in (False, True)
    }
    scenes = [one.scene for one in drawn.dealt if one.is_held_out]
    return SceneSplits(drawn, splits[False].dataset(), splits[True].dataset(), scenes)


def encode(captions: Sequence[str]) -> list[np.ndarray]:
    """Returns the token vectors of each caption."""
    with tempfile.TemporaryDirectory() as folder:
        build_tokenizer(Path(folder))
        encoder = TextEncoder(hash_folder(Path(folder), TINY, None, "stored"), device="cpu")
        return encoder.encode(captions, max_length=MAX_TOKENS, batch_tokens=BATCH_TOKENS, precision="fp32")


def build_tokenizer(folder: Path) -> None:
    """Writes the built-in text encoder, whose tokenizer serves a larger one as well."""
    names = read_sprite_names(CHECKOUT / SPRITES)
    words = (CHECKOUT / WORDS).read_text(encoding="utf-8").splitlines()
    build_tiny(folder, [*grammar_corpus(names), *words])


def _select(drawn: DrawnScenes, tokens: Sequence[np.ndarray], rows: Sequence[int]) -> Captioned:
    return Captioned(
        captions=[caption_of(drawn.dealt[row].scene) for row in rows],
        pixels=[drawn.pixels[row] for row in rows],
        tokens=[tokens[row] for row in rows],
        extras=[write_extra(drawn.dealt[row].scene, is_held_out=drawn.dealt[row].is_held_out) for row in rows],
    )
