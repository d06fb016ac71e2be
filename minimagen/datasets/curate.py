"""Which rows are kept, in which group, and in which split: near-duplicates share a group, a group has one split.

Pure functions over rows in their plan order, oldest first: what comes later never moves what came before, so an append
leaves older outcomes as they are. Knows no file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from minimagen.config import CurateConfig
from minimagen.datasets.likeness import HashIndex, Lab, Look, close_hashes, lab_distance
from minimagen.errors import UserError
from minimagen.files import sha256_bytes
from minimagen.rows import Rejection

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True, slots=True)
class Sample:
    """What curation knows of a row."""

    key: str
    text: str
    phash: int
    group: str | None
    """The group that the source declares; grouping by likeness is off for this row then."""
    is_held_out: bool | None
    """The split that the source declares, if it does."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a kept row belongs."""

    group_id: str
    split: Split


def sample_of(key: str, text: str, phash: int, source: str, extra: str) -> Sample:
    """Reads what a row's source declares of it: ``extra.group`` and ``extra.held_out``."""
    declared = json.loads(extra)
    group = declared.get("group")
    return Sample(key, text, phash, None if group is None else f"{source}:{group}", declared.get("held_out"))


def positions_to_look_at(samples: Sequence[Sample], config: CurateConfig) -> set[int]:
    """Returns the rows whose pixels decide: those with a close hash, and those alike in hash and caption."""
    loose = [position for position, sample in enumerate(samples) if sample.group is None]
    close = close_hashes([samples[position].phash for position in loose], config.max_hamming)
    first: dict[tuple[int, str], int] = {}
    twins: set[int] = set()
    for position, sample in enumerate(samples):
        earliest = first.setdefault((sample.phash, sample.text), position)
        if earliest != position:
            twins |= {earliest, position}
    return twins | {loose[position] for position in close}


def curate(samples: Sequence[Sample], looks: Mapping[int, Look], config: CurateConfig) -> list[Placement | Rejection]:
    """Places every row or rejects it.

    A row is rejected as duplicate_key, as duplicate (same pixels and same caption as an older row) or as bridges_split
    (near-duplicate of groups in both splits). Otherwise it joins the oldest group that it is alike with, or founds one
    that is named after it. The split of a group is a hash of its name, unless the source holds it out itself.

    So few groups that the hash leaves a split empty get the one group moved whose hash is nearest to that split.

    Args:
        looks: of the positions that ``positions_to_look_at`` returns.

    Raises:
        ValueError: there are not two groups to split, or a source declares a group both held out and not.
    """
    assigned = _assign(samples, looks, config, moved={})
    present = {group.split for group in assigned.groups.values()}
    empty: list[Split] = [split for split in SPLITS if split not in present]
    if not empty:
        return assigned.outcomes
    movable = [name for name, group in assigned.groups.items() if not group.is_declared]
    if len(assigned.groups) < 2 or not movable:
        raise UserError(
            f"no picture is left for split {empty[0]!r}: {len(samples)} pictures make {len(assigned.groups)} group(s) "
            "that are alike or that their source keeps together; at least one more is needed"
        )
    nearest = min if empty[0] == "validation" else max
    chosen = nearest(movable, key=lambda name: split_hash(name, config.salt))
    return _assign(samples, looks, config, moved={chosen: empty[0]}).outcomes


def split_hash(group_id: str, salt: str) -> float:
    """Returns a number in [0, 1) that is a pure function of group and salt; below val_fraction means validation."""
    return int(sha256_bytes(f"{salt}\x1f{group_id}".encode())[:13], 16) / 16**13


@dataclass(frozen=True, slots=True)
class _Group:
    split: Split
    founder: int
    """Position of its first row."""
    is_declared: bool
    """Whether the source says the split."""


@dataclass(frozen=True, slots=True)
class _Assignment:
    """Outcomes so far, and what the next row is compared with."""

    index: HashIndex
    outcomes: list[Placement | Rejection] = field(default_factory=list)
    groups: dict[str, _Group] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    twins: dict[tuple[str, str], str] = field(default_factory=dict)
    """Key of the first row with these pixels and this caption."""
    indexed: set[tuple[int, Lab | None, str]] = field(default_factory=set)
    """Hash, colour and group of what is in the index: a second one with all three would be found for nothing."""


def _assign(
    samples: Sequence[Sample], looks: Mapping[int, Look], config: CurateConfig, moved: Mapping[str, Split]
) -> _Assignment:
    state = _Assignment(HashIndex(config.max_hamming))
    for position, sample in enumerate(samples):
        outcome = _duplicate(sample, looks.get(position), state)
        if outcome is None:
            outcome = _place(position, samples, looks, config, moved, state)
        state.outcomes.append(outcome)
        state.keys.add(sample.key)
        if isinstance(outcome, Rejection):
            continue
        is_declared = sample.is_held_out is not None
        state.groups.setdefault(outcome.group_id, _Group(outcome.split, position, is_declared))
        look = looks.get(position)
        if look is not None:
            state.twins.setdefault((look.pixels_sha256, sample.text), sample.key)
        entry = (sample.phash, None if look is None else look.lab, outcome.group_id)
        if sample.group is None and entry not in state.indexed:
            state.index.add(sample.phash, position)
            state.indexed.add(entry)
    return state


def _duplicate(sample: Sample, look: Look | None, state: _Assignment) -> Rejection | None:
    if sample.key in state.keys:
        return Rejection("duplicate_key", "an older row has this key")
    if look is not None and (look.pixels_sha256, sample.text) in state.twins:
        return Rejection("duplicate", f"picture and caption of {state.twins[look.pixels_sha256, sample.text]}")
    return None


def _place(
    position: int,
    samples: Sequence[Sample],
    looks: Mapping[int, Look],
    config: CurateConfig,
    moved: Mapping[str, Split],
    state: _Assignment,
) -> Placement | Rejection:
    sample = samples[position]
    if sample.group is not None:
        return _place_declared(sample, config, moved, state)
    alike: dict[str, str] = {}
    for other in state.index.near(sample.phash):
        placed = state.outcomes[other]
        assert isinstance(placed, Placement), "only placed rows are in the index"
        if lab_distance(looks[position], looks[other]) <= config.max_lab_distance:
            alike.setdefault(placed.group_id, samples[other].key)
    groups = {name: state.groups[name] for name in alike}
    if len({group.split for group in groups.values()}) > 1:
        pictures = ", ".join(f"{alike[name]} ({group.split})" for name, group in groups.items())
        return Rejection("bridges_split", f"like {pictures}")
    if groups:
        oldest = min(groups, key=lambda name: groups[name].founder)
        return Placement(oldest, groups[oldest].split)
    return Placement(sample.key, _split_of(sample.key, config, moved))


def _place_declared(
    sample: Sample, config: CurateConfig, moved: Mapping[str, Split], state: _Assignment
) -> Placement | Rejection:
    group = sample.group
    assert group is not None
    if sample.is_held_out is None:
        return Placement(group, _split_of(group, config, moved))
    split: Split = "validation" if sample.is_held_out else "train"
    if group in state.groups and state.groups[group].split != split:
        raise UserError(f"{sample.key}: its source declares the group {group!r} both held out and not")
    return Placement(group, split)


def _split_of(group_id: str, config: CurateConfig, moved: Mapping[str, Split]) -> Split:
    by_hash: Split = "validation" if split_hash(group_id, config.salt) < config.val_fraction else "train"
    return moved.get(group_id, by_hash)
