"""How good one way to draw is: held-out captions for the first U-Net, real held-out pictures enlarged for the others.

The captions are others than those of stage evaluate where there are enough, so that its numbers stay honest.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from minimagen.config import Params
from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.transforms import to_pixels
from minimagen.evaluation.caption_scores import score_captions
from minimagen.evaluation.memorisation import nearest_pictures, reproduced
from minimagen.evaluation.metrics import psnr
from minimagen.evaluation.selection import choose_samples
from minimagen.evaluation.super_resolution import enlarge
from minimagen.pipeline import Cascade, load_cascade_parts
from minimagen.shapes import Images, PerSample
from minimagen.sources.scene_drawing import read_sprites
from minimagen.sources.scene_grammar import Scene
from minimagen.sources.scenes import SOURCE, complete_config
from minimagen.stages.evaluation_inputs import MODELS, check_data, image_chunks, load_cascade, open_split
from minimagen.stages.measure_captions import scene_of
from minimagen.training.validation import spread_indices

MIN_OTHER_CAPTIONS = 24
"""As few captions that evaluate does not draw are enough to tune on."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One way to draw."""

    scores: PerSample
    cost: int
    """Network evaluations a picture of this U-Net."""


class Trials:
    """A trained cascade with the held-out data that it is tried on.

    Raises:
        UserError: a U-Net is not trained, or was trained with other parameters or on other data.
    """

    def __init__(self, params: Params, root: Path, device: torch.device) -> None:
        self.params, self.root, self.device = params, root, device
        self.first = params.cascade[0]
        self._splits: dict[str, CaptionedImages] = {}
        self._positions = self._captions_to_draw()
        check_data(load_cascade(params, root, device).records, self._held_out(self.first).data_sha256)

    def metric_of(self, unet: str) -> str:
        """Returns what a U-Net is judged by: "joint", "retrieval" or "psnr"."""
        if unet != self.first:
            return "psnr"
        return "joint" if self._scenes is not None else "retrieval"

    def score(self, params: Params, unet: str) -> Scored:
        """Draws with one U-Net as ``params`` say and scores each picture: right or not, or its PSNR in dB."""
        if unet == self.first:
            cascade = load_cascade_parts(self.root / MODELS, {unet: params.sampling[unet]}, device=self.device)
            scores = self._draw_captions(cascade)
        else:
            cascade = load_cascade(params, self.root, self.device)
            scores = self._enlarge(cascade, unet)
        (stage,) = (stage for stage in cascade.stages if stage.name == unet)
        return Scored(scores, stage.settings.num_evaluations)

    def _held_out(self, unet: str) -> CaptionedImages:
        if unet not in self._splits:
            section = self.params.unets[unet]
            self._splits[unet] = open_split(self.root, "validation", section.image_size, section.training.crop)
        return self._splits[unet]

    def _captions_to_draw(self) -> list[int]:
        config, captions = self.params.evaluate, self._held_out(self.first).captions
        order = choose_samples(captions, len(captions), config.seed)
        others = order[config.num_captions :]
        return (others if len(others) >= MIN_OTHER_CAPTIONS else order)[: config.num_captions]

    @cached_property
    def _scenes(self) -> list[Scene] | None:
        """What each caption says; None where the source does not know what a picture shows."""
        extras = self._held_out(self.first).extras
        scenes = [scene_of(extras[position]) for position in self._positions]
        known = [scene for scene in scenes if scene is not None]
        return known if len(known) == len(scenes) and self.params.ingest.scenes is not None else None

    def _draw_captions(self, cascade: Cascade) -> PerSample:
        held_out, size = self._held_out(self.first), self.params.evaluate.batch_size
        drawn: list[Images] = []
        for start in range(0, len(self._positions), size):
            chunk = self._positions[start : start + size]
            keys = [held_out.keys[position] for position in chunk]
            pictures = cascade.draw(*held_out.embeds.padded(chunk), seed=self.params.evaluate.seed, sample_ids=keys)
            drawn.append(pictures[self.first])
        images = torch.cat(drawn)
        return self._retrieved(images) if self._scenes is None else self._right(images, self._scenes)

    def _right(self, images: Images, scenes: list[Scene]) -> PerSample:
        config = self.params.ingest.scenes
        assert config is not None, "asked for only where scenes are known"
        sheet = self.root / self.params.sources[SOURCE]
        complete = complete_config(config, sheet)
        sprites = read_sprites(sheet, complete.objects)
        found = score_captions(
            to_pixels(images), scenes, config=complete, sprites=sprites, seed=self.params.evaluate.seed
        )
        return torch.tensor([float(score.joint) for score in found.scores])

    def _retrieved(self, images: Images) -> PerSample:
        """Whether the nearest of all held-out pictures is one of the caption that was drawn."""
        held_out = self._held_out(self.first)
        captions = [held_out.captions[position] for position in self._positions]
        found = reproduced(captions, nearest_pictures(images, image_chunks(held_out)), held_out.captions)
        return torch.tensor([float(is_right) for is_right in found])

    def _enlarge(self, cascade: Cascade, unet: str) -> PerSample:
        config, held_out = self.params.evaluate, self._held_out(unet)
        place = self.params.cascade.index(unet)
        stage, low_res_size = cascade.stages[place], cascade.stages[place - 1].image_size
        positions = spread_indices(min(config.num_super_pairs, len(held_out)), len(held_out))
        scores: list[PerSample] = []
        for start in range(0, len(positions), config.batch_size):
            batch = held_out.batch(positions[start : start + config.batch_size], seed=config.seed)
            images, text_embeds, text_mask = (
                tensor.to(self.device) for tensor in (batch.images, batch.text_embeds, batch.text_mask)
            )
            found = enlarge(
                stage, images, low_res_size, text_embeds, text_mask, seed=config.seed, sample_ids=list(batch.keys)
            )
            scores.append(psnr(found.pictures.cpu(), images.cpu()))
        return torch.cat(scores)
