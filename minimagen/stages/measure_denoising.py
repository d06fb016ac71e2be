"""What the gate compares of each held-out picture: how well every U-Net finds it again under noise.

Which pictures, which times and which noise follow from their keys alone, so two cascades are scored alike on every
picture that both hold out, however their data have grown. Writes no outs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from minimagen.datasets.captioned import Batch
from minimagen.diffusion.cascade import CascadeStage, augment, resize
from minimagen.diffusion.gaussian import q_sample
from minimagen.evaluation.metrics import psnr
from minimagen.files import sha256_bytes
from minimagen.seeding import derive_seed, sample_noise
from minimagen.shapes import Conditioning, Images, PerSample
from minimagen.stages.evaluation_inputs import Inputs, pixels_at

TIMES = (0.125, 0.375, 0.625, 0.875)
NUM_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Denoised:
    """Scores of held-out pictures, picture by picture."""

    keys: list[str]
    captions: list[str]
    pictures: list[str]
    """The beginning of the SHA-256 of each picture's pixels at the last stage's size."""
    psnr: dict[str, list[float]]
    """By U-Net: PSNR of the estimate of the clean picture, dB, mean over ``TIMES``."""


def measure_denoising(inputs: Inputs) -> Denoised:
    """Scores at most ``num_loss_images`` held-out pictures."""
    config, dataset = inputs.params.evaluate, inputs.held_out
    positions = choose_stable(dataset.keys, config.num_loss_images, config.seed)
    chunks = [positions[start : start + config.batch_size] for start in range(0, len(positions), config.batch_size)]
    before = [None, *(stage.image_size for stage in inputs.cascade.stages)]
    scores: dict[str, list[float]] = {}
    for stage, low_res_size in zip(inputs.cascade.stages, before, strict=False):
        seen = inputs.held_out_at(stage.name)
        batches = (seen.batch(chunk, seed=config.seed) for chunk in chunks)
        scores[stage.name] = torch.cat([_score(inputs, stage, low_res_size, batch) for batch in batches]).tolist()
    return Denoised(
        keys=[dataset.keys[position] for position in positions],
        captions=[dataset.captions[position] for position in positions],
        pictures=[sha256_bytes(pixels_at(dataset, [position]).tobytes())[:NUM_HASH_DIGITS] for position in positions],
        psnr=scores,
    )


def choose_stable(keys: Sequence[str], num_samples: int, seed: int) -> list[int]:
    """Returns positions of the ``num_samples`` keys whose hashes are lowest: of grown data, mostly the same ones."""
    by_hash = sorted(range(len(keys)), key=lambda position: derive_seed(seed, "gate", keys[position]))
    return by_hash[:num_samples]


@torch.inference_mode()
def _score(inputs: Inputs, stage: CascadeStage, low_res_size: int | None, batch: Batch) -> PerSample:
    seed, device = inputs.params.evaluate.seed, inputs.device
    x0, keys = batch.images.to(device), batch.keys

    def noise(stream: str) -> Images:
        return sample_noise(seed, keys, (3, stage.image_size, stage.image_size), stream=f"gate {stream}").to(device)

    conditioning = Conditioning(batch.text_embeds.to(device), batch.text_mask.to(device))
    level = stage.settings.aug_level
    if low_res_size is not None and level is not None:
        levels = torch.full((len(keys),), level, device=device)
        low_res = resize(resize(x0, low_res_size), stage.image_size)
        low_res = augment(low_res, levels, noise("low_res"), stage.denoiser.schedule)
        conditioning = Conditioning(conditioning.text_embeds, conditioning.text_mask, low_res, levels)
    found: list[PerSample] = []
    for time in TIMES:
        t = torch.full((len(keys),), time, device=device)
        xt = q_sample(x0, noise(f"t {time}"), stage.denoiser.schedule.log_snr(t))
        estimate = stage.denoiser.x0(xt, t, conditioning).clamp(-1.0, 1.0)
        found.append(psnr(estimate, x0).cpu())
    return torch.stack(found).mean(0)
