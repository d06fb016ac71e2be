"""What a scene can be, and the one caption that says so: words, phrases and the way back from a caption to its scene.

Does not know what anything looks like beside the table of colours, nor which scenes a data set holds.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from minimagen.errors import UserError
from minimagen.files import canonical_json

BACKGROUNDS = {
    "white": (255, 255, 255),
    "black": (16, 16, 16),
    "gray": (128, 128, 128),
    "red": (205, 35, 45),
    "orange": (250, 145, 30),
    "yellow": (250, 225, 70),
    "green": (60, 165, 75),
    "cyan": (60, 215, 220),
    "blue": (45, 85, 205),
    "purple": (125, 55, 175),
    "pink": (250, 160, 200),
    "brown": (115, 70, 35),
}
"""Background colours, RGB."""

POSITIONS = {
    "center": "",
    "top": "at the top",
    "bottom": "at the bottom",
    "left": "on the left",
    "right": "on the right",
    "top left": "in the top left",
    "top right": "in the top right",
    "bottom left": "in the bottom left",
    "bottom right": "in the bottom right",
}
"""Where a lone object stands, and the phrase for it; the center is not spoken of."""

SIZES = ("small", "large")
"""Size words of a lone object."""

RELATIONS = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
"""How the first object stands to the second, and the phrase for it."""

MIRRORED = {"right of": "left of", "below": "above"}
"""Relations that say the same as another one with the objects exchanged."""

# Plurals, substances and names of one's own: "jeans on a blue background", "large mount fuji on ...".
_WITHOUT_ARTICLE = """
bacon, ballet shoes, beans, blueberries, books, bowling pins, briefs, broccoli, bubbles, butter, chains, cherries,
chopsticks, clinking glasses, control knobs, coral, crossed swords, custard, dna, falafel, film frames, fire, fondue,
french fries, fried shrimp, garlic, ginger root, glasses, gloves, goggles, grapes, headphones, jeans, lettuce, luggage,
maracas, meat on bone, mount fuji, nesting dolls, oden, paella, pancakes, paw prints, popcorn, prayer beads, scissors,
shaved ice, shopping bags, shorts, skis, socks, spaghetti, sparkles, sunglasses, sushi, theater masks
"""
WITHOUT_ARTICLE = frozenset(" ".join(_WITHOUT_ARTICLE.split()).split(", "))
SOUNDS_LIKE_A = ("euro", "ewe", "unicorn")
SOUNDS_LIKE_AN = ("hourglass", "x-ray")


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object; size and position are None where the caption does not speak of them (two objects)."""

    name: str
    size: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One object with size and position, or two objects with a relation, before a background."""

    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What a row of the data says about its picture, beside the caption."""

    scene: Scene
    group: str
    is_held_out: bool


def with_article(phrase: str) -> str:
    """Puts "a" or "an" before a phrase by its sound."""
    is_an = phrase.startswith(SOUNDS_LIKE_AN) or (phrase[0] in "aeiou" and not phrase.startswith(SOUNDS_LIKE_A))
    return f"{'an' if is_an else 'a'} {phrase}"


def noun_phrase(name: str, size: str | None = None) -> str:
    """Returns an object as captions name it: "an axe", "a large red apple", "small jeans"."""
    words = name if size is None else f"{size} {name}"
    return words if name in WITHOUT_ARTICLE else with_article(words)


def caption_of(scene: Scene) -> str:
    """Returns the one caption of a scene.

    "a large red apple in the top left on a blue background", without the place in the center;
    "a banana to the left of a frog on a pink background" for two objects.
    """
    first = scene.objects[0]
    parts = [noun_phrase(first.name, first.size)]
    if scene.relation is not None:
        parts += [RELATIONS[scene.relation], noun_phrase(scene.objects[1].name)]
    elif first.position is not None and POSITIONS[first.position]:
        parts.append(POSITIONS[first.position])
    return " ".join([*parts, "on", with_article(scene.background), "background"])


def parse_caption(text: str, objects: Collection[str]) -> Scene:
    """Returns the scene that a caption speaks of; letter case, spaces, articles and a final stop do not matter.

    Args:
        objects: the names that are known.

    Raises:
        ValueError: the caption is not of this grammar, or a word is not known; the message names the nearest known.
    """
    words = " ".join(text.lower().split()).removesuffix(".")
    match = re.fullmatch(r"(?P<subject>.+?) on (?:an? )?(?P<background>[a-z]+) background", words)
    if match is None:
        raise UserError(f"caption {text!r} does not end in 'on a <colour> background'")
    background, subject = match["background"], match["subject"]
    if background not in BACKGROUNDS:
        _unknown(text, "background", background, BACKGROUNDS)
    for relation, phrase in RELATIONS.items():
        first, found, second = subject.partition(f" {phrase} ")
        if found:
            pair = (SceneObject(_known_object(text, first, objects)), SceneObject(_known_object(text, second, objects)))
            return Scene(pair, relation, background)
    return Scene((_parse_lone_object(text, subject, objects),), None, background)


def _parse_lone_object(text: str, subject: str, objects: Collection[str]) -> SceneObject:
    spoken = {f" {phrase}": position for position, phrase in POSITIONS.items() if phrase}
    ending = next((ending for ending in spoken if subject.endswith(ending)), "")
    words = re.sub("^an? ", "", subject.removesuffix(ending))
    size = next((size for size in SIZES if words.startswith(f"{size} ")), None)
    if size is None:
        raise UserError(f"caption {text!r} says no size: expected {' or '.join(SIZES)} before {words!r}")
    name = _known_object(text, words.removeprefix(f"{size} "), objects)
    return SceneObject(name, size, spoken.get(ending, "center"))


def _known_object(text: str, phrase: str, objects: Collection[str]) -> str:
    name = phrase if phrase in objects else re.sub("^an? ", "", phrase)
    if name not in objects:
        _unknown(text, "object", name, objects)
    return name


def _unknown(text: str, kind: str, word: str, known: Iterable[str]) -> NoReturn:
    raise UserError(f"caption {text!r}: {kind} {word!r} is not known; nearest: {nearest_names(word, known)}")


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Returns the (up to three) known names most like ``name``, for messages."""
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))


def group_of(scene: Scene) -> str:
    """Returns the combination of attributes, equal for two captions that describe one picture.

    "a frog to the right of a banana" and "a banana to the left of a frog" are one group.
    """
    if scene.relation is None:
        lone = scene.objects[0]
        return "|".join([lone.name, lone.size or "", lone.position or "", scene.background])
    first, second = (one.name for one in scene.objects)
    if scene.relation in MIRRORED:
        first, second = second, first
    return "|".join([first, MIRRORED.get(scene.relation, scene.relation), second, scene.background])


def write_extra(scene: Scene, *, is_held_out: bool) -> str:
    """Returns the ground truth as the canonical JSON that stands in the column ``extra``."""
    objects = [{"name": one.name, "size": one.size, "position": one.position} for one in scene.objects]
    record = {"objects": objects, "relation": scene.relation, "background": scene.background}
    return canonical_json({"scene": record, "group": group_of(scene), "held_out": is_held_out})


def read_extra(extra: str) -> GroundTruth:
    """Reads what ``write_extra`` wrote."""
    record = json.loads(extra)
    scene = record["scene"]
    objects = tuple(SceneObject(one["name"], one["size"], one["position"]) for one in scene["objects"])
    return GroundTruth(Scene(objects, scene["relation"], scene["background"]), record["group"], record["held_out"])


def grammar_corpus(objects: Sequence[str]) -> list[str]:
    """Returns captions that use every object, colour, size, position and relation; what a tokenizer is trained on."""
    backgrounds, positions, relations = list(BACKGROUNDS), list(POSITIONS), list(RELATIONS)
    lines = []
    for index, name in enumerate(objects):
        background = backgrounds[index % len(backgrounds)]
        for turn, size in enumerate(SIZES):
            lone = SceneObject(name, size, positions[(index + turn) % len(positions)])
            lines.append(caption_of(Scene((lone,), None, background)))
        pair = (SceneObject(name), SceneObject(objects[(index + 1) % len(objects)]))
        lines.append(caption_of(Scene(pair, relations[index % len(relations)], background)))
    return lines
