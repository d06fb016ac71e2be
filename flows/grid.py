"""A grid of experiments: every combination of the values that some parameters may take, as texts of params.yaml.

Checked as a whole before anything starts. Runs nothing.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from minimagen.config import ConfigError, Params, validate_params
from minimagen.errors import UserError
from minimagen.params_text import flow_style, open_text, text_of

PARTS = ("unet", "diffusion", "training")
PER_LEVEL = ("num_resnet_blocks", "layer_attns", "layer_cross_attns")
"""Lists of a U-Net with an entry for each of its dim_mults."""
LENGTHS = {"num_steps": "num_epochs", "num_epochs": "num_steps"}
FIXED = ("sources", "cascade", "ingest")
"""Sections that all arms of a comparison share."""

Grid = Mapping[str, Sequence[JsonValue]]
"""Key -> values. A key is dotted ("unets.base.training.seed") or a field of the U-Nets, of all ("dim") or one
("base.dim")."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One combination of values."""

    name: str
    values: Mapping[str, JsonValue]
    text: str
    """Of params.yaml."""
    params: Params


def arms_of(text: str, path: Path, grid: Grid) -> list[Arm]:
    """Returns every combination of a grid, the last key's values changing fastest.

    A U-Net with more or fewer dim_mults has its other lists repeat their last entry or end earlier; num_steps takes the
    place of num_epochs and the reverse.

    Args:
        text: params.yaml as all of them have it otherwise.
        path: what errors name.

    Raises:
        UserError: a key names what there is not, a key has no values, or a combination breaks a rule; a line for each.
    """
    for key, values in grid.items():
        if not values:
            raise UserError(f"{key}: no values to compare")
    found: list[Arm] = []
    problems: list[str] = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        try:
            found.append(_arm(text, path, chosen))
        except ConfigError as error:
            problems += [f"{name_of(chosen)}: {line}" for line in str(error).splitlines()]
    if problems:
        raise UserError("\n".join(problems))
    if len({arm.text for arm in found}) != len(found) or len({arm.name for arm in found}) != len(found):
        raise UserError("two combinations of the grid are the same parameters, or have the same name")
    return found


def name_of(values: Mapping[str, JsonValue]) -> str:
    """Returns the name of an arm: its values, in letters that Git and DVC allow."""
    parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in values.items()]
    return "--".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts)


def _arm(text: str, path: Path, values: Mapping[str, JsonValue]) -> Arm:
    document = open_text(text)
    for key, value in values.items():
        for section, field in _places(document, key, path):
            _set(section, field, value)
    changed = text_of(document)
    params = validate_params(YAML(typ="safe", pure=True).load(changed), path)
    return Arm(name_of(values), values, changed, params)


def _places(document: CommentedMap, key: str, path: Path) -> list[tuple[CommentedMap, str]]:
    """Returns the mappings that a key is a field of: one, or one for each U-Net."""
    *sections, field = key.split(".")
    if sections and sections[0] in document and sections[0] not in FIXED:
        inner: object = document
        for name in sections:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        found = [inner]
    else:
        wanted = [name for name in document["unets"] if sections in ([], [name])]
        found = [_part_with(document["unets"][name], field) for name in wanted]
    places = [(part, field) for part in found if isinstance(part, CommentedMap) and field in part]
    if not places or len(places) != len(found):
        raise UserError(f"{path}: {key}: there is no such key to compare")
    return places


def _part_with(section: CommentedMap, field: str) -> CommentedMap | None:
    return next((section[part] for part in PARTS if field in section[part]), None)


def _set(section: CommentedMap, field: str, value: JsonValue) -> None:
    section[field] = flow_style(value)
    if field in LENGTHS and value is not None:
        section[LENGTHS[field]] = None
    if field == "dim_mults" and isinstance(value, list):
        for name in PER_LEVEL:
            present = list(section[name])
            section[name] = flow_style([*present, *present[-1:] * len(value)][: len(value)])
