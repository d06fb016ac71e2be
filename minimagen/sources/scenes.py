"""Drawn emoji scenes as a source: pictures whose true content is known, in any number, without a network.

Joins the grammar, the deal and the drawing to shard jobs. Does not know what is learned from them.
"""

import json
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from minimagen.config import ConfigError, ScenesConfig
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.rows import Row, snapshot_instant
from minimagen.shards import ShardJob, ShardReport, find_report, write_shard
from minimagen.sources.images import encode_image
from minimagen.sources.perceptual_hash import perceptual_hash
from minimagen.sources.scene_deal import check_deal, deal_scene
from minimagen.sources.scene_drawing import DRAWING_VERSION, Sprites, draw_scene, read_sprite_names, read_sprites
from minimagen.sources.scene_grammar import (
    BACKGROUNDS,
    POSITIONS,
    RELATIONS,
    SIZES,
    caption_of,
    nearest_names,
    write_extra,
)

SOURCE = "scenes"
LICENSE = "Apache-2.0"
"""Of the sprites' artwork; see data/assets/NOTICE.md."""


def complete_config(config: ScenesConfig, sheet: Path) -> ScenesConfig:
    """Returns the configuration with every object named, once all its words are known and agree.

    Raises:
        ConfigError: the sheet is missing, or a value has to change; the message names params.yaml, key and value.
    """
    if not sheet.is_file():
        raise ConfigError(f"params.yaml: sources.scenes: {sheet}: no such file (scripts/render_sprites.py makes it)")
    names = read_sprite_names(sheet)
    _check_names("objects", config.objects, names, f"in {sheet}")
    _check_names("backgrounds", config.backgrounds, BACKGROUNDS, "a known colour")
    _check_names("positions", config.positions, POSITIONS, "a known position")
    _check_names("sizes", config.sizes, SIZES, "a known size")
    _check_names("relations", config.relations, RELATIONS, "a known relation")
    if bool(config.positions) == bool(config.relations):
        raise ConfigError(
            "params.yaml: ingest.scenes: give positions (one object per scene) or relations (two objects), "
            f"and an empty list for the other, not {list(config.positions)} and {list(config.relations)}"
        )
    completed = config.model_copy(update={"objects": config.objects or names})
    if config.relations and len(completed.objects) < 2:
        raise ConfigError(f"params.yaml: ingest.scenes.objects: relations need two objects, not {list(config.objects)}")
    return completed


def _check_names(key: str, given: tuple[str, ...], known: Collection[str], place: str) -> None:
    for name in given:
        where = f"params.yaml: ingest.scenes.{key}: {name!r}"
        if name not in known:
            raise ConfigError(f"{where} is not {place}; nearest: {nearest_names(name, known)}")
        if given.count(name) > 1:
            raise ConfigError(f"{where} is listed {given.count(name)} times")


def plan(config: ScenesConfig, *, reads: Path, snapshot: str) -> list[ShardJob]:
    """Returns the jobs that draw ``config.num_scenes`` pictures with the sprite sheet ``reads``.

    Raises:
        ConfigError: a word is unknown, or training pictures would lack an attribute.
    """
    completed = complete_config(config, reads)
    check_deal(completed)
    common = {
        "scenes": completed.model_dump(mode="json"),
        "reads": reads.as_posix(),
        "drawing_version": DRAWING_VERSION,
        "sheet_sha256": sha256_file(reads),
        "snapshot": snapshot,
    }
    starts = range(0, config.num_scenes, config.shard_rows)
    return [
        ShardJob(
            source=SOURCE,
            name=f"{snapshot}-{number:05d}",
            spec=canonical_json(common | {"start": start, "stop": min(start + config.shard_rows, config.num_scenes)}),
        )
        for number, start in enumerate(starts)
    ]


def run(job: ShardJob, *, folder: Path) -> ShardReport:
    """Draws the scenes of one job into ``folder``; a shard that is done stays as it is.

    Raises:
        ValueError: the sprite sheet is not the one that was planned with.
    """
    report = find_report(folder, job)
    if report is not None:
        return report
    spec = json.loads(job.spec)
    config = ScenesConfig.model_validate_json(json.dumps(spec["scenes"]))
    sheet = Path(spec["reads"])
    if sha256_file(sheet) != spec["sheet_sha256"]:
        raise UserError(f"{sheet} has changed since shard {job.name} was planned; run the ingest again")
    sprites = read_sprites(sheet, set(config.objects))
    rows = [draw_row(config, index, sprites, spec["snapshot"]) for index in range(spec["start"], spec["stop"])]
    return write_shard(folder, job, rows, failures=())


def draw_row(config: ScenesConfig, index: int, sprites: Sprites, snapshot: str) -> Row:
    """Draws scene ``index`` of a complete configuration."""
    dealt = deal_scene(config, index)
    picture = Image.fromarray(draw_scene(dealt.scene, sprites, config.size, dealt.displacements))
    encoded = encode_image(picture, "png")
    caption = caption_of(dealt.scene)
    return Row(
        key=f"{SOURCE}:{index:07d}",
        image_bytes=encoded,
        text=caption,
        text_raw=caption,
        captions=(caption,),
        width=config.size,
        height=config.size,
        orig_width=config.size,
        orig_height=config.size,
        format="png",
        sha256=sha256_bytes(encoded),
        phash=perceptual_hash(picture),
        source=SOURCE,
        source_url="",
        page_url="",
        license=LICENSE,
        adult=False,
        lang="en",
        fetched_at=snapshot_instant(snapshot),
        extra=write_extra(dealt.scene, is_held_out=dealt.is_held_out),
    )
