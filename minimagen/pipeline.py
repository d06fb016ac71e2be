"""A trained cascade as one object: captions in, pictures of every stage out.

Joins networks, diffusion and the text encoder; what stages, reports, serving and notebooks use. Knows no data set, no
training and no parameters file: a cascade is a folder.

    <folder>/cascade.json       order of the stages, how each draws, which encoder
    <folder>/models/<unet>/     weights and record of each
    <folder>/text_encoder/      the encoder, or where it comes from
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from minimagen.cascade_chain import check_chain, check_encoder
from minimagen.cascade_file import read_cascade_file
from minimagen.config import SamplingConfig
from minimagen.datasets.captioned import Captions
from minimagen.datasets.transforms import to_pixels
from minimagen.diffusion.cascade import CascadeStage, CascadeState, SamplerSettings, last_pictures, walk_cascade
from minimagen.diffusion.denoiser import Denoiser
from minimagen.diffusion.schedule import NoiseSchedule
from minimagen.errors import UserError
from minimagen.models.unet import UNet
from minimagen.saved_model import EncoderRecord, SavedModel, read_model
from minimagen.shapes import Conditioning, Images, PixelImages, TextEmbeds, TextMask
from minimagen.text.t5 import TextEncoder

ENCODE_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class StageOverrides:
    """Changes to how every stage draws; None keeps the stage's own."""

    num_steps: int | None = None
    """Sampler steps, from 1."""
    guidance_scale: float | None = None
    """Classifier-free guidance; 1 is none."""


@dataclass(frozen=True, slots=True)
class CascadeSamples:
    """Pictures drawn for captions, caption by caption."""

    captions: tuple[str, ...]
    """The caption of each picture."""
    sample_ids: tuple[str, ...]
    """The name of each picture's noise: (seed, name) draws it again."""
    pixels: dict[str, PixelImages]
    """Pictures of each stage, by its name, in cascade order."""


class Cascade:
    """A chain of trained stages with the text encoder they were trained on.

    Raises:
        ValueError: the stages do not fit each other: another encoder, or a size that is not the previous stage's.
    """

    def __init__(
        self, models: Mapping[str, SavedModel], sampling: Mapping[str, SamplingConfig], *, device: torch.device
    ) -> None:
        check_chain([model.record for model in models.values()])
        self.device = device
        """Where the networks are."""
        self.records = {name: model.record for name, model in models.items()}
        """What each stage is and was trained on, by its name, in cascade order."""
        self.stages = tuple(_stage_of(name, model, sampling[name], device) for name, model in models.items())
        """Network, noise law and sampler settings of each stage, in cascade order."""
        self._encoder_folder: Path | None = None
        self._encoder: TextEncoder | None = None

    @classmethod
    def load(cls, folder: Path | str, *, device: str = "cpu") -> Self:
        """Reads a cascade folder and verifies every model against its hashes; the encoder is loaded at its first use.

        Raises:
            FileNotFoundError: there is no cascade.json, or a model is missing.
            ValueError: a file is damaged or of a newer format, or the stages do not fit each other.
        """
        folder = Path(folder)
        sampling = read_cascade_file(folder).sampling
        models = {name: read_model(folder / "models" / name) for name in sampling}
        cascade = cls(models, sampling, device=torch.device(device))
        cascade._encoder_folder = folder / "text_encoder"
        return cascade

    @property
    def encoder(self) -> EncoderRecord:
        """The text encoder that every stage was trained on."""
        return next(iter(self.records.values())).encoder

    def sample(
        self,
        captions: Sequence[str],
        *,
        seed: int = 0,
        num_per_caption: int = 1,
        batch_size: int = 32,
        overrides: StageOverrides | None = None,
        negative: str | None = None,
    ) -> CascadeSamples:
        """Draws ``num_per_caption`` pictures for each caption through all stages.

        A picture depends on seed, caption and its number alone: not on the other captions nor on the batch size (up to
        rounding).

        Args:
            batch_size: captions that are drawn at once.
            overrides: how to draw instead of as the cascade's folder says.
            negative: a caption to draw away from, in place of none, wherever a stage has guidance.

        Raises:
            ValueError: there is no caption, or a negative one although no stage has guidance.
        """
        self.check(captions, overrides, negative)
        repeated = tuple(caption for caption in captions for _ in range(num_per_caption))
        sample_ids = sample_names(captions, num_per_caption)
        text_embeds, text_mask = self.encode(repeated)
        away = None if negative is None else Conditioning(*self.encode([negative]))
        drawn: dict[str, list[Images]] = {stage.name: [] for stage in self.stages}
        for start in range(0, len(repeated), batch_size):
            chunk = slice(start, start + batch_size)
            pictures = self.draw(
                text_embeds[chunk],
                text_mask[chunk],
                seed=seed,
                sample_ids=sample_ids[chunk],
                overrides=overrides,
                negative=away,
            )
            for name, images in pictures.items():
                drawn[name].append(images)
        pixels = {name: to_pixels(torch.cat(images)) for name, images in drawn.items()}
        return CascadeSamples(repeated, sample_ids, pixels)

    def check(self, captions: Sequence[str], overrides: StageOverrides | None, negative: str | None) -> None:
        """Makes sure that ``sample`` would draw this.

        Raises:
            ValueError: there is no caption, or guidance or a negative caption that no stage was trained for.
        """
        if not captions:
            raise UserError("no caption: nothing to draw")
        settings = self.settings(overrides)
        if negative is not None and all(one.guidance_scale == 1.0 for one in settings.values()):
            raise UserError(f"negative caption {negative!r}: no stage has guidance (guidance_scale is 1 in each)")

    def draw(
        self,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        *,
        seed: int,
        sample_ids: Sequence[str],
        overrides: StageOverrides | None = None,
        negative: Conditioning | None = None,
    ) -> dict[str, Images]:
        """Draws one picture for each encoded caption; returns each stage's pictures, in [-1, 1], on the CPU.

        Args:
            negative: text of one negative caption, a batch of one.
        """
        states = self.walk(
            text_embeds, text_mask, seed=seed, sample_ids=sample_ids, overrides=overrides, negative=negative
        )
        return {name: images.cpu() for name, images in last_pictures(states).items()}

    def walk(
        self,
        text_embeds: TextEmbeds,
        text_mask: TextMask,
        *,
        seed: int,
        sample_ids: Sequence[str],
        overrides: StageOverrides | None = None,
        negative: Conditioning | None = None,
    ) -> Iterator[CascadeState]:
        """Draws as ``draw`` does and yields every state of every stage, so that who draws may show it or stop it."""
        settings = self.settings(overrides)
        if negative is not None:
            negative = Conditioning(negative.text_embeds.to(self.device), negative.text_mask.to(self.device))
        return walk_cascade(
            [replace(stage, settings=settings[stage.name]) for stage in self.stages],
            text_embeds.to(self.device),
            text_mask.to(self.device),
            seed=seed,
            sample_ids=sample_ids,
            negative=negative,
        )

    def settings(self, overrides: StageOverrides | None = None) -> dict[str, SamplerSettings]:
        """Returns how each stage draws, in cascade order.

        Raises:
            ValueError: guidance is asked of a stage that was never trained without a caption.
        """
        settings = {stage.name: _overridden(stage.settings, overrides or StageOverrides()) for stage in self.stages}
        for name, own in settings.items():
            if own.guidance_scale > 1.0 and not self.records[name].diffusion.cond_drop_prob:
                raise UserError(
                    f"guidance {own.guidance_scale:g}: {name} was trained with cond_drop_prob 0, never without a "
                    f"caption, so there is nothing to guide away from"
                )
        return settings

    def encode(self, captions: Sequence[str]) -> tuple[TextEmbeds, TextMask]:
        """Returns captions as the networks were trained to read them: in the arithmetic of the embeddings and through
        the same fp16 rounding.

        Raises:
            ValueError: the encoder is not the one of training, or the cascade was built without a folder.
        """
        vectors = self._load_encoder().encode(
            captions,
            max_length=self.encoder.max_length,
            batch_tokens=ENCODE_BATCH_TOKENS,
            precision=self.encoder.precision,
        )
        return Captions.of(vectors).padded(range(len(captions)))

    def _load_encoder(self) -> TextEncoder:
        if self._encoder is None:
            if self._encoder_folder is None:
                raise UserError("this cascade was built without a text encoder: load it from a folder, or use draw()")
            encoder = TextEncoder.from_stage(self._encoder_folder, device=str(self.device))
            files = encoder.files
            check_encoder(self._encoder_folder, encoder.tokenizer_sha256, files.identity_sha256, self.encoder)
            self._encoder = encoder
        return self._encoder


def sample_names(captions: Sequence[str], num_per_caption: int) -> tuple[str, ...]:
    """Returns the names of the noise of each picture that ``Cascade.sample`` draws, caption by caption."""
    return tuple(f"{caption}#{number}" for caption in captions for number in range(num_per_caption))


def load_cascade_parts(models_folder: Path, sampling: Mapping[str, SamplingConfig], *, device: torch.device) -> Cascade:
    """Builds a cascade from trained models and settings, without a text encoder: for captions already embedded."""
    return Cascade({name: read_model(models_folder / name) for name in sampling}, sampling, device=device)


def _stage_of(name: str, model: SavedModel, settings: SamplingConfig, device: torch.device) -> CascadeStage:
    record = model.record
    with torch.device("meta"):
        network = UNet(record.unet, text_dim=record.encoder.text_dim, has_low_res=record.has_low_res)
    try:
        network.load_state_dict(model.tensors, assign=True)
    except RuntimeError as error:
        raise UserError(f"{name}: its weights are those of another network: {error}") from error
    network = network.eval().requires_grad_(False).to(device)
    law = record.diffusion
    schedule = NoiseSchedule(law.schedule, law.log_snr_shift, law.zero_terminal_snr)
    return CascadeStage(
        name,
        Denoiser(network, schedule, record.diffusion.target),
        record.image_size,
        SamplerSettings(**settings.model_dump()),
    )


def _overridden(settings: SamplerSettings, overrides: StageOverrides) -> SamplerSettings:
    if overrides.num_steps is not None:
        settings = replace(settings, num_steps=overrides.num_steps)
    if overrides.guidance_scale is not None:
        settings = replace(settings, guidance_scale=overrides.guidance_scale)
    return settings
