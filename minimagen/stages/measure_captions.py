"""What stage evaluate measures of pictures drawn for captions: alignment, reproduction, copying.

Writes no outs; their names and looks are decided elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from minimagen.config import ScenesConfig
from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.transforms import to_float, to_pixels
from minimagen.evaluation.caption_scores import score_captions
from minimagen.evaluation.memorisation import Nearest, count_repeated, nearest_pictures, reproduced
from minimagen.evaluation.metrics import share_of
from minimagen.evaluation.results import AlignmentResult, CopyingResult
from minimagen.evaluation.selection import choose_samples
from minimagen.shapes import PixelImages
from minimagen.sources.scene_drawing import read_sprites
from minimagen.sources.scene_grammar import Scene, read_extra
from minimagen.sources.scenes import SOURCE, complete_config
from minimagen.stages.drawn_pictures import draw_in_batches
from minimagen.stages.evaluation_inputs import Inputs, image_chunks, pixels_at


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures that the cascade drew for captions of a data set."""

    positions: list[int]
    """Of the captions in their data set."""
    pixels: dict[str, PixelImages]
    """By stage, in cascade order."""
    nearest: Nearest
    """The training pictures nearest to those of the last stage."""


@dataclass(frozen=True, slots=True)
class StageScores:
    """One stage's drawn pictures against their captions."""

    flags: list[dict[str, bool]]
    """Attribute -> is it right, for each picture; empty where the source does not know what a picture shows."""
    alignment: AlignmentResult


def draw_captions(inputs: Inputs, dataset: CaptionedImages, num_captions: int, name: str) -> Drawn:
    """Draws captions of a data set through the whole cascade, unique ones first; a picture's noise is named by its key.

    Args:
        num_captions: at most; a smaller data set is drawn as a whole.
        name: of the folder in which batches are kept.
    """
    config, cascade = inputs.params.evaluate, inputs.cascade
    positions = choose_samples(dataset.captions, num_captions, config.seed)

    def draw(chunk: Sequence[int]) -> dict[str, PixelImages]:
        text_embeds, text_mask = dataset.embeds.padded(chunk)
        sample_ids = [dataset.keys[position] for position in chunk]
        pictures = cascade.draw(text_embeds, text_mask, seed=config.seed, sample_ids=sample_ids)
        return {stage: to_pixels(images) for stage, images in pictures.items()}

    pixels = draw_in_batches(
        positions, folder=inputs.folder / name, batch_size=config.batch_size, draw=draw, report=inputs.report
    )
    in_order = {stage.name: pixels[stage.name] for stage in cascade.stages}
    final = to_float(in_order[cascade.stages[-1].name])
    return Drawn(positions, in_order, nearest_pictures(final, image_chunks(inputs.training)))


def score_alignment(inputs: Inputs, drawn: Drawn) -> dict[str, StageScores]:
    """Scores the first and the last stage's pictures; none where no source knows the true content of its pictures."""
    scenes = [scene_of(inputs.held_out.extras[position]) for position in drawn.positions]
    known = {row: scene for row, scene in enumerate(scenes) if scene is not None}
    config = inputs.params.ingest.scenes
    if not known or config is None:
        return {}
    sheet = inputs.root / inputs.params.sources[SOURCE]
    completed = complete_config(config, sheet)
    first, last = inputs.cascade.stages[0].name, inputs.cascade.stages[-1].name
    return {
        stage: _score_stage(drawn.pixels[stage], known, completed, sheet, inputs.params.evaluate.seed)
        for stage in dict.fromkeys((first, last))
    }


def _score_stage(
    pixels: PixelImages, known: Mapping[int, Scene], config: ScenesConfig, sheet: Path, seed: int
) -> StageScores:
    sprites = read_sprites(sheet, config.objects)
    found = score_captions(pixels[list(known)], list(known.values()), config=config, sprites=sprites, seed=seed)
    flags: list[dict[str, bool]] = [{} for _ in pixels]
    for row, score in zip(known, found.scores, strict=True):
        flags[row] = score.attributes
    return StageScores(flags, found.alignment)


def scene_of(extra: str) -> Scene | None:
    """Returns the true content of a picture from its row's ``extra``; None where the source does not know it."""
    return read_extra(extra).scene if "scene" in json.loads(extra) else None


def measure_copying(inputs: Inputs, drawn: Drawn) -> CopyingResult:
    """Compares how near drawn and real held-out pictures of the same captions are to training pictures."""
    found = drawn.nearest
    real = nearest_pictures(to_float(pixels_at(inputs.held_out, drawn.positions)), image_chunks(inputs.training))
    captions = [inputs.held_out.captions[position] for position in drawn.positions]
    return CopyingResult(
        generated=median(found.distances.tolist()),
        held_out=median(real.distances.tolist()),
        ratio=median(found.ratios.tolist()),
        held_out_ratio=median(real.ratios.tolist()),
        copies=share_of(int(found.are_copies.sum()), len(captions)),
        num_held_out_copies=int(real.are_copies.sum()),
        num_repeated=count_repeated(to_float(drawn.pixels[inputs.cascade.stages[-1].name]), captions),
    )


def is_reproduced(inputs: Inputs, drawn: Drawn) -> list[bool]:
    """Says for each picture drawn from a training caption whether its nearest training picture has that caption."""
    captions = [inputs.training.captions[position] for position in drawn.positions]
    return reproduced(captions, drawn.nearest, inputs.training.captions)
