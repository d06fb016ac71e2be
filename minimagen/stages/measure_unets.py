"""What stage evaluate measures of one U-Net at a time: held-out loss and super-resolution of real pictures.

Writes no outs; their names and looks are decided elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from minimagen.datasets.transforms import to_float, to_pixels
from minimagen.diffusion.cascade import CascadeStage
from minimagen.evaluation.metrics import paired_interval, psnr
from minimagen.evaluation.results import SuperResolutionResult, TimeBin, UNetResult
from minimagen.evaluation.super_resolution import colour_error, enlarge
from minimagen.seeding import generator
from minimagen.shapes import PixelImages
from minimagen.stages.drawn_pictures import draw_in_batches
from minimagen.stages.evaluation_inputs import Inputs, pixels_at
from minimagen.training.objective import Objective
from minimagen.training.validation import spread_indices, validation_losses


@dataclass(frozen=True, slots=True)
class Enlargements:
    """Real held-out pictures enlarged by one stage and by bicubic interpolation; scores in dB, picture by picture."""

    keys: list[str]
    captions: list[str]
    originals: PixelImages
    pixels: dict[str, PixelImages]
    """"low_res", "bicubic" and "pictures", the stage's own."""
    psnr: list[float]
    psnr_bicubic: list[float]
    result: SuperResolutionResult


def measure_unets(inputs: Inputs, enlarged: dict[str, Enlargements]) -> tuple[UNetResult, ...]:
    """Measures every U-Net of the cascade; ``enlarged`` holds those that start from a picture."""
    return tuple(_measure_unet(inputs, stage, enlarged.get(stage.name)) for stage in inputs.cascade.stages)


def _measure_unet(inputs: Inputs, stage: CascadeStage, enlarged: Enlargements | None) -> UNetResult:
    config, objective = inputs.params.evaluate, Objective(inputs.params.unets[stage.name], inputs.device)
    found = validation_losses(
        lambda batch, draws: objective.loss_under(stage.denoiser.network, batch, draws),
        inputs.held_out_at(stage.name),
        aug_level=objective.usual_aug_level,
        num_images=config.num_loss_images,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    bins = tuple(TimeBin(item.start, item.end, item.loss) for item in found.bins)
    return UNetResult(stage.name, stage.image_size, found.loss, bins, None if enlarged is None else enlarged.result)


def enlarge_held_out(inputs: Inputs) -> dict[str, Enlargements]:
    """Enlarges held-out pictures with every stage but the first; none if no pair is asked for."""
    if inputs.params.evaluate.num_super_pairs == 0:
        return {}
    return {
        stage.name: _enlarge_with(inputs, stage, previous.image_size)
        for previous, stage in pairwise(inputs.cascade.stages)
    }


def _enlarge_with(inputs: Inputs, stage: CascadeStage, low_res_size: int) -> Enlargements:
    config, dataset = inputs.params.evaluate, inputs.held_out_at(stage.name)
    positions = spread_indices(min(config.num_super_pairs, len(dataset)), len(dataset))

    def draw(chunk: Sequence[int]) -> dict[str, PixelImages]:
        batch = dataset.batch(chunk, seed=config.seed)
        images, text_embeds, text_mask = (
            tensor.to(inputs.device) for tensor in (batch.images, batch.text_embeds, batch.text_mask)
        )
        found = enlarge(
            stage, images, low_res_size, text_embeds, text_mask, seed=config.seed, sample_ids=list(batch.keys)
        )
        pictures = {"low_res": found.low_res, "bicubic": found.bicubic, "pictures": found.pictures}
        return {name: to_pixels(tensor) for name, tensor in pictures.items()}

    folder = inputs.folder / f"enlarged-{stage.name}"
    pixels = draw_in_batches(positions, folder=folder, batch_size=config.batch_size, draw=draw, report=inputs.report)
    originals = pixels_at(dataset, positions)
    scores, baseline = (psnr(to_float(pixels[name]), to_float(originals)) for name in ("pictures", "bicubic"))
    gain = paired_interval(scores, baseline, generator(config.seed, "psnr", stage.name))
    moved = colour_error(to_float(pixels["pictures"]), to_float(pixels["low_res"]))
    return Enlargements(
        keys=[dataset.keys[position] for position in positions],
        captions=[dataset.captions[position] for position in positions],
        originals=originals,
        pixels=pixels,
        psnr=scores.tolist(),
        psnr_bicubic=baseline.tolist(),
        result=SuperResolutionResult(float(scores.mean()), float(baseline.mean()), gain, moved, len(positions)),
    )
