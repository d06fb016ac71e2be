"""One experiment on the demo's scenes in this process: train a U-Net, draw held-out captions, score the pictures.

Everything that decides is the library's own: training step, sampler and scorer. Knows no arm and no peer.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.course import open_course, trained_model
from benchmarks.scenes_data import DrawnScenes, SceneSplits
from minimagen.config import SamplingConfig, UNetSection
from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.transforms import to_pixels
from minimagen.evaluation.caption_scores import score_captions
from minimagen.evaluation.metrics import psnr
from minimagen.evaluation.selection import choose_samples
from minimagen.evaluation.super_resolution import enlarge
from minimagen.pipeline import Cascade
from minimagen.saved_model import SavedModel, read_model, write_model
from minimagen.shapes import PixelImages
from minimagen.sources.scene_grammar import Scene
from minimagen.stages.device import device_from_environment

BATCH_SIZE = 48
SCORE_SEED = 0
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Trained:
    """Averaged weights, and what they cost."""

    model: SavedModel
    train_cpu_s: float
    """0 where they were read from the disk."""


def train_or_read(
    folder: Path, section: UNetSection, training: CaptionedImages, *, name: str, num_steps: int
) -> Trained:
    """Returns the trained U-Net of a folder, trained first unless it is there."""
    if folder.exists():
        return Trained(read_model(folder), 0.0)
    course = open_course(section, training, name=name, num_steps=num_steps, device=device_here())
    started_s = time.process_time()
    for _ in course.steps():
        pass
    train_cpu_s = time.process_time() - started_s
    model = trained_model(course)
    write_model(folder, model.record, model.tensors)
    return Trained(model, train_cpu_s)


def held_out_positions(splits: SceneSplits, num_captions: int) -> list[int]:
    """Returns which held-out pictures lend their captions: distinct ones first, the same in every experiment."""
    return choose_samples(splits.held_out.captions, num_captions, SCORE_SEED)


def open_cascade(models: Mapping[str, SavedModel], sampling: Mapping[str, SamplingConfig]) -> Cascade:
    """Builds a cascade of trained U-Nets, the base first."""
    return Cascade(models, {name: sampling[name] for name in models}, device=device_here())


def draw(cascade: Cascade, data: CaptionedImages, positions: Sequence[int]) -> PixelImages:
    """Draws a picture for each of some captions through all stages; a picture's noise is named by its key."""
    last = cascade.stages[-1].name
    drawn = []
    for chunk in _chunks(positions):
        text_embeds, text_mask = data.embeds.padded(chunk)
        keys = [data.keys[position] for position in chunk]
        drawn.append(cascade.draw(text_embeds, text_mask, seed=SCORE_SEED, sample_ids=keys)[last])
    return to_pixels(torch.cat(drawn))


def gain_over_bicubic(cascade: Cascade, data: CaptionedImages, positions: Sequence[int]) -> float:
    """Returns by how many dB the last stage enlarges real pictures better than bicubic interpolation, on average."""
    base, stage = cascade.stages[-2:]
    gains = []
    for chunk in _chunks(positions):
        batch = data.batch(chunk, seed=SCORE_SEED)
        images, text_embeds, text_mask = (
            tensor.to(cascade.device) for tensor in (batch.images, batch.text_embeds, batch.text_mask)
        )
        found = enlarge(
            stage,
            images,
            base.image_size,
            text_embeds,
            text_mask,
            seed=SCORE_SEED,
            sample_ids=list(batch.keys),
        )
        gains.append(psnr(found.pictures, images) - psnr(found.bicubic, images))
    return float(torch.cat(gains).mean())


def device_here() -> torch.device:
    """Returns what everything is computed on."""
    return torch.device(device_from_environment())


def alignment(pixels: PixelImages, scenes: Sequence[Scene], drawn: DrawnScenes) -> Scores:
    """Returns the share of pictures that show their caption: joint, by attribute, and under other captions."""
    found = score_captions(pixels, scenes, config=drawn.config, sprites=drawn.sprites, seed=SCORE_SEED).alignment
    scores = {one.name: one.share.value for one in (found.joint, *found.attributes)}
    return scores if found.joint.shuffled is None else scores | {"shuffled": found.joint.shuffled}


def _chunks(positions: Sequence[int]) -> list[Sequence[int]]:
    return [positions[start : start + BATCH_SIZE] for start in range(0, len(positions), BATCH_SIZE)]
