"""Tells which parts of their captions pictures of drawn scenes show, beside what chance and wrong captions reach.

Exact, not learned: pictures are read by templates (``scene_reading``). Does not know how a picture was made.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimagen.config import ScenesConfig
from minimagen.errors import UserError
from minimagen.evaluation.retrieval import exchange_captions
from minimagen.evaluation.scene_reading import Place, Reading, read_scenes
from minimagen.shapes import PixelImages
from minimagen.sources.scene_drawing import CENTERS, PAIR_CENTERS, PAIR_SIDE, SIDES, Sprites
from minimagen.sources.scene_grammar import MIRRORED, Scene, SceneObject, caption_of


@dataclass(frozen=True, slots=True)
class SceneScore:
    """Which attributes of its caption one picture shows: background and object, size, position or objects, relation."""

    attributes: dict[str, bool]

    @property
    def joint(self) -> bool:
        """Every attribute is right."""
        return all(self.attributes.values())


@dataclass(frozen=True, slots=True)
class AlignmentScore:
    """Shares from 0 to 1 of pictures that show what their captions say: all of it, and by attribute."""

    joint: float
    attributes: dict[str, float]


class SceneReader:
    """Reads pictures in the words of one vocabulary, and compares them with captions.

    Args:
        config: with every object named (``scenes.complete_config``).
        sprites: at least those of ``config.objects``.
    """

    def __init__(self, config: ScenesConfig, sprites: Sprites) -> None:
        self._config = config
        self._sprites = [sprites.pixels[name] for name in config.objects]
        self._axes = [axis for axis in PAIR_CENTERS if axis in {MIRRORED.get(word, word) for word in config.relations}]
        self._spots = list(itertools.product(config.sizes, config.positions))

    def read(self, images: PixelImages) -> list[Reading]:
        """Reads square pictures of one size, any size."""
        return read_scenes(
            images,
            backgrounds=self._config.backgrounds,
            sprites=self._sprites,
            places=self._places(),
            jitter=self._config.jitter,
        )

    def _places(self) -> list[Place]:
        if self._axes:
            return [Place(*center, PAIR_SIDE) for axis in self._axes for center in PAIR_CENTERS[axis]]
        return [Place(*CENTERS[position], SIDES[size]) for size, position in self._spots]

    def score(self, reading: Reading, scene: Scene) -> SceneScore:
        """Compares what a picture shows with what a caption says.

        Two objects are right if both are seen, on whichever side; their relation is right if, of all arrangements of
        the caption's two objects, the caption's fits the picture best.

        Raises:
            ValueError: the scene is not of this vocabulary.
        """
        self._check_words(scene)
        background = {"background": reading.background == scene.background}
        if scene.relation is None:
            return SceneScore(background | self._score_lone(reading, scene.objects[0]))
        return SceneScore(background | self._score_pair(reading, scene))

    def _score_lone(self, reading: Reading, wanted: SceneObject) -> dict[str, bool]:
        place, number = divmod(int(reading.costs.argmin()), len(self._config.objects))
        is_there = bool(reading.costs.min() < 0)
        size, position = self._spots[place]
        return {
            "object": is_there and self._config.objects[number] == wanted.name,
            "size": is_there and size == wanted.size,
            "position": is_there and position == wanted.position,
        }

    def _score_pair(self, reading: Reading, scene: Scene) -> dict[str, bool]:
        costs = np.minimum(reading.costs, 0)
        best = costs.min(axis=1)  # one for each place; places 2k and 2k + 1 are the two of axis k
        axis = int((best[0::2] + best[1::2]).argmin())
        seen = [
            self._config.objects[int(costs[place].argmin())] if best[place] < 0 else None
            for place in (2 * axis, 2 * axis + 1)
        ]
        wanted = [one.name for one in scene.objects]
        first, second = (self._config.objects.index(name) for name in wanted)
        fits = {}
        for number, word in enumerate(self._axes):
            fits[word, False] = costs[2 * number, first] + costs[2 * number + 1, second]
            fits[word, True] = costs[2 * number + 1, first] + costs[2 * number, second]
        said = (MIRRORED.get(scene.relation or "", scene.relation), scene.relation in MIRRORED)
        is_related = min(fits.values()) < 0 and min(fits, key=lambda key: fits[key]) == said
        return {"objects": Counter(seen) == Counter(wanted), "relation": is_related}

    def _check_words(self, scene: Scene) -> None:
        config = self._config
        words = [("background", scene.background, config.backgrounds)]
        words += [("object", one.name, config.objects) for one in scene.objects]
        if scene.relation is None:
            lone = scene.objects[0]
            words += [("size", lone.size, config.sizes), ("position", lone.position, config.positions)]
        else:
            words += [("relation", scene.relation, config.relations)]
        for kind, word, known in words:
            if word not in known:
                expected = ", ".join(known) or "none"
                raise UserError(f"caption {caption_of(scene)!r}: {kind} {word!r} is not of this data set ({expected})")


def mean_score(scores: Sequence[SceneScore]) -> AlignmentScore:
    """Returns the shares of right pictures; of at least one."""
    attributes = {name: sum(one.attributes[name] for one in scores) / len(scores) for name in scores[0].attributes}
    return AlignmentScore(sum(one.joint for one in scores) / len(scores), attributes)


def chance_levels(config: ScenesConfig) -> AlignmentScore:
    """Returns the shares that pictures of scenes drawn at random reach, whatever the captions say."""
    num_objects = len(config.objects)
    chances = {"background": 1 / len(config.backgrounds)}
    if config.relations:
        num_arrangements = 2 * len({MIRRORED.get(word, word) for word in config.relations})
        chances |= {"objects": 2 / (num_objects * (num_objects - 1)), "relation": 1 / num_arrangements}
    else:
        chances |= {"object": 1 / num_objects, "size": 1 / len(config.sizes), "position": 1 / len(config.positions)}
    return AlignmentScore(float(np.prod(list(chances.values()))), chances)


def other_captions(scenes: Sequence[Scene], seed: int) -> list[int]:
    """Returns for each picture the index of another picture's caption, which is not its own.

    Raises:
        ValueError: one caption is more than half of them.
    """
    return exchange_captions([caption_of(scene) for scene in scenes], seed)
