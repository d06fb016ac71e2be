"""Drawn pictures against the captions they were drawn for: shares by attribute, beside wrong captions and chance.

Knows scenes of known content; does not know how a picture was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from minimagen.config import ScenesConfig
from minimagen.evaluation.alignment import SceneReader, SceneScore, chance_levels, mean_score, other_captions
from minimagen.evaluation.metrics import share_of
from minimagen.evaluation.results import AlignmentResult, AttributeResult
from minimagen.evaluation.retrieval import can_exchange
from minimagen.shapes import PixelImages
from minimagen.sources.scene_drawing import Sprites
from minimagen.sources.scene_grammar import Scene, caption_of

JOINT = "joint"


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """What is right in each picture, and in how many of them."""

    scores: list[SceneScore]
    alignment: AlignmentResult


def score_captions(
    pixels: PixelImages, scenes: Sequence[Scene], *, config: ScenesConfig, sprites: Sprites, seed: int
) -> CaptionScores:
    """Scores pictures against the scenes of their captions and, as a control, against each other's.

    Args:
        scenes: what each picture should show.
        config: the vocabulary, with every object named.
        seed: decides who gets whose caption in the control.
    """
    reader = SceneReader(config, sprites)
    readings = reader.read(pixels)
    scores = [reader.score(reading, scene) for reading, scene in zip(readings, scenes, strict=True)]
    shuffled: list[SceneScore] | None = None
    if can_exchange([caption_of(scene) for scene in scenes]):
        others = other_captions(scenes, seed)
        shuffled = [reader.score(reading, scenes[other]) for reading, other in zip(readings, others, strict=True)]
    return CaptionScores(scores, _summary(scores, shuffled, config))


def _summary(scores: list[SceneScore], shuffled: list[SceneScore] | None, config: ScenesConfig) -> AlignmentResult:
    chance, control = chance_levels(config), None if shuffled is None else mean_score(shuffled)
    joint = AttributeResult(
        JOINT,
        share_of(sum(score.joint for score in scores), len(scores)),
        shuffled=None if control is None else control.joint,
        chance=chance.joint,
    )
    attributes = tuple(
        AttributeResult(
            name,
            share_of(sum(score.attributes[name] for score in scores), len(scores)),
            shuffled=None if control is None else control.attributes[name],
            chance=chance.attributes[name],
        )
        for name in scores[0].attributes
    )
    return AlignmentResult(joint, attributes)
