"""Which scene has which number: combinations of attributes, dealt evenly over a data set, some of them held out.

Everything is a pure function of (config, index); nothing is listed, so twenty million combinations cost no memory.
Does not know pixels, sprites or files. ``config.objects`` must be filled in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from minimagen.config import ConfigError, ScenesConfig
from minimagen.seeding import derive_seed, generator
from minimagen.sources.scene_grammar import Scene, SceneObject, group_of

FEISTEL_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class DealtScene:
    """One scene of a data set."""

    scene: Scene
    displacements: tuple[tuple[float, float], ...]
    """For each object how far it is moved right and down, in picture sides."""
    is_held_out: bool
    """No training picture shows this combination of attributes."""


def count_combinations(config: ScenesConfig) -> int:
    """Returns the number of different captions that ``config`` allows."""
    num_objects, num_backgrounds = len(config.objects), len(config.backgrounds)
    if config.relations:
        return num_objects * (num_objects - 1) * len(config.relations) * num_backgrounds
    return num_objects * len(config.positions) * len(config.sizes) * num_backgrounds


def combination(config: ScenesConfig, number: int) -> Scene:
    """Returns combination ``number`` of ``count_combinations(config)``."""
    rest, background = divmod(number, len(config.backgrounds))
    if config.relations:
        rest, relation = divmod(rest, len(config.relations))
        first, second = divmod(rest, len(config.objects) - 1)
        second += second >= first  # an object does not stand beside itself
        objects = (SceneObject(config.objects[first]), SceneObject(config.objects[second]))
        return Scene(objects, config.relations[relation], config.backgrounds[background])
    rest, size = divmod(rest, len(config.sizes))
    name, position = divmod(rest, len(config.positions))
    lone = SceneObject(config.objects[name], config.sizes[size], config.positions[position])
    return Scene((lone,), None, config.backgrounds[background])


def shuffled_number(number: int, count: int, seed: int) -> int:
    """Returns where a seeded shuffle of 0 .. count - 1 puts ``number``: a Feistel network, walked until in range.

    A permutation by construction, without the list of all numbers (Black & Rogaway 2002, section 5).
    """
    half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = number >> half_bits, number & mask
        for turn in range(FEISTEL_ROUNDS):
            left, right = right, left ^ (derive_seed(seed, "deal", turn, right) & mask)
        number = left << half_bits | right
        if number < count:
            return number


def deal_scene(config: ScenesConfig, index: int) -> DealtScene:
    """Returns scene ``index`` of the data set.

    Every ``count_combinations`` consecutive scenes show each combination once, in shuffled order; a data set smaller
    than that is a sample without repetition.
    """
    count = count_combinations(config)
    scene = combination(config, shuffled_number(index % count, count, config.seed))
    draws = torch.rand(len(scene.objects), 2, generator=generator(config.seed, "jitter", index), dtype=torch.float64)
    moves = [((2 * right - 1) * config.jitter, (2 * down - 1) * config.jitter) for right, down in draws.tolist()]
    return DealtScene(scene, tuple(moves), is_held_out(config, scene))


def is_held_out(config: ScenesConfig, scene: Scene) -> bool:
    """Tells by a hash whether a combination is held out; a longer vocabulary leaves the others where they are."""
    return derive_seed(config.seed, "held out", group_of(scene)) < config.held_out_fraction * 2**63


def check_deal(config: ScenesConfig) -> None:
    """Checks that training pictures show every attribute in every role, and that something is held out.

    Raises:
        ConfigError: an attribute value has no training picture, or there is no held-out picture.
    """
    unseen = set(_all_attributes(config))
    has_held_out = False
    for index in range(min(config.num_scenes, count_combinations(config))):
        dealt = deal_scene(config, index)
        if dealt.is_held_out:
            has_held_out = True
        else:
            unseen -= set(_attributes(dealt.scene))
        if has_held_out and not unseen:
            return
    where = f"params.yaml: ingest.scenes.held_out_fraction: {config.held_out_fraction} of {config.num_scenes} scenes"
    if unseen:
        named = ", ".join(f"{role} {name!r}" for role, name in sorted(unseen)[:5])
        raise ConfigError(
            f"{where} leaves no training picture with {named} ({len(unseen)} missing); lower it, or raise num_scenes"
        )
    raise ConfigError(f"{where} holds out no combination; raise it, or num_scenes")


def _all_attributes(config: ScenesConfig) -> Iterator[tuple[str, str]]:
    yield from (("background", name) for name in config.backgrounds)
    if config.relations:
        yield from (("relation", name) for name in config.relations)
        yield from ((role, name) for role in ("first object", "second object") for name in config.objects)
    else:
        yield from (("object", name) for name in config.objects)
        yield from (("size", name) for name in config.sizes)
        yield from (("position", name) for name in config.positions)


def _attributes(scene: Scene) -> Iterator[tuple[str, str]]:
    yield "background", scene.background
    if scene.relation is None:
        lone = scene.objects[0]
        assert lone.size is not None and lone.position is not None
        yield from (("object", lone.name), ("size", lone.size), ("position", lone.position))
    else:
        yield "relation", scene.relation
        yield from zip(("first object", "second object"), (one.name for one in scene.objects), strict=True)
