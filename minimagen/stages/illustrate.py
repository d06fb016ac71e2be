"""What stage evaluate shows: measurements as the report's galleries and as the records of scores.json.

Measures nothing and writes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from minimagen.datasets.captioned import CaptionedImages
from minimagen.evaluation.curves import Line, draw_lines, read_lines
from minimagen.evaluation.pairs import REAL, Pairs
from minimagen.evaluation.report import CaptionGallery, Chart, Column, SuperGallery
from minimagen.stages.evaluation_inputs import Inputs, pixels_at
from minimagen.stages.measure_captions import Drawn, StageScores
from minimagen.stages.measure_denoising import TIMES, Denoised
from minimagen.stages.measure_unets import Enlargements
from minimagen.stages.training_outs import CURVES_FILE
from minimagen.training.curves import HELD_OUT_RATIO, NEAREST_RATIO, SEEN_LOSS, TRAIN_LOSS, VALIDATION_LOSS

CURVES = {
    TRAIN_LOSS: "training",
    VALIDATION_LOSS: "held out",
    SEEN_LOSS: "training pictures, measured like held-out ones",
}
RATIOS = {HELD_OUT_RATIO: "real held-out pictures", NEAREST_RATIO: "drawn pictures"}
NUM_FURTHER_ROWS = 8


def held_out_gallery(inputs: Inputs, drawn: Drawn, scores: Mapping[str, StageScores]) -> CaptionGallery:
    """Shows the first drawn held-out captions and which of their attributes are right."""
    last = inputs.cascade.stages[-1].name
    flags = scores[last].flags if last in scores else [{} for _ in drawn.positions]
    return _caption_gallery(inputs, inputs.held_out, drawn, flags, inputs.params.evaluate.num_report_rows)


def training_gallery(inputs: Inputs, drawn: Drawn, is_reproduced: Sequence[bool]) -> CaptionGallery:
    """Shows the first drawn training captions and whether they were reproduced."""
    flags = [{"reproduced": is_right} for is_right in is_reproduced]
    return _caption_gallery(inputs, inputs.training, drawn, flags, NUM_FURTHER_ROWS)


def _caption_gallery(
    inputs: Inputs, dataset: CaptionedImages, drawn: Drawn, flags: Sequence[Mapping[str, bool]], num_rows: int
) -> CaptionGallery:
    positions = drawn.positions[:num_rows]
    columns = [
        Column("real picture", pixels_at(dataset, positions)),
        *(Column(name, pixels[:num_rows]) for name, pixels in drawn.pixels.items()),
        Column("nearest in training", pixels_at(inputs.training, drawn.nearest.indices[:num_rows].tolist())),
    ]
    captions = [dataset.captions[position] for position in positions]
    return CaptionGallery(captions, columns, inputs.cascade.stages[-1].name, flags[:num_rows])


def epoch_gallery(epochs: Pairs) -> CaptionGallery:
    """Shows the same training captions after one number of epochs after another."""
    columns = [
        Column("real picture" if label == REAL else label, pictures) for label, pictures in epochs.pictures.items()
    ]
    return CaptionGallery(epochs.captions, columns, columns[-1].label, [{} for _ in epochs.captions])


def super_gallery(name: str, enlarged: Enlargements) -> SuperGallery:
    """Shows enlarged pictures, evenly spread from the one that gains least over bicubic to the one that gains most."""
    gains = np.subtract(enlarged.psnr, enlarged.psnr_bicubic)
    places = np.linspace(0, len(gains) - 1, min(NUM_FURTHER_ROWS, len(gains))).round().astype(int)
    rows: list[int] = np.argsort(gains, kind="stable")[places].tolist()
    columns = [
        Column("low resolution", enlarged.pixels["low_res"][rows]),
        Column("bicubic", enlarged.pixels["bicubic"][rows]),
        Column(name, enlarged.pixels["pictures"][rows]),
        Column("real picture", enlarged.originals[rows]),
    ]
    return SuperGallery(
        unet=name,
        captions=[enlarged.captions[row] for row in rows],
        columns=columns,
        main=name,
        psnr=[enlarged.psnr[row] for row in rows],
        psnr_bicubic=[enlarged.psnr_bicubic[row] for row in rows],
    )


def training_chart(unet: str, checkpoint: Path) -> Chart:
    """Draws the curves that the training left beside its checkpoint.

    Raises:
        ValueError: there are none, or a column is missing.
    """
    return _chart(unet, read_lines(checkpoint / CURVES_FILE, CURVES))


def copying_chart(unet: str, checkpoint: Path) -> Chart | None:
    """Draws how near drawn pictures came to training pictures; None if no grid was drawn, or not from noise."""
    lines = read_lines(checkpoint / CURVES_FILE, RATIOS)
    return _chart(unet, lines) if any(value > 0 for line in lines for value in line.values) else None


def _chart(unet: str, lines: Sequence[Line]) -> Chart:
    return Chart(unet, [line.label for line in lines], draw_lines(lines))


def loss_gap(checkpoint: Path) -> float:
    """Returns the held-out loss over that of training pictures at the end of a training."""
    held_out, seen = read_lines(checkpoint / CURVES_FILE, {VALIDATION_LOSS: "", SEEN_LOSS: ""})
    return held_out.values[-1] / seen.values[-1]


def caption_records(
    drawn: Drawn, scores: Mapping[str, StageScores], dataset: CaptionedImages, training: CaptionedImages
) -> list[dict[str, object]]:
    """Returns what scores.json says of each drawn caption; ``is_right`` by stage, as far as it was scored."""
    nearest = zip(drawn.nearest.indices.tolist(), drawn.nearest.distances.tolist(), strict=True)
    return [
        {
            "key": dataset.keys[position],
            "caption": dataset.captions[position],
            "is_right": {stage: found.flags[row] for stage, found in scores.items()},
            "nearest_training": training.keys[index],
            "nearest_caption": training.captions[index],
            "nearest_distance": distance,
        }
        for row, (position, (index, distance)) in enumerate(zip(drawn.positions, nearest, strict=True))
    ]


def super_records(enlarged: Enlargements) -> list[dict[str, object]]:
    """Returns what scores.json says of each enlarged picture."""
    rows = zip(enlarged.keys, enlarged.psnr, enlarged.psnr_bicubic, strict=True)
    return [{"key": key, "psnr": own, "psnr_bicubic": bicubic} for key, own, bicubic in rows]


def denoising_records(denoised: Denoised) -> dict[str, object]:
    """Returns what scores.json says of each held-out picture under noise, for the gate to compare."""
    rows = zip(denoised.keys, denoised.captions, denoised.pictures, strict=True)
    samples = [
        {
            "key": key,
            "caption": caption,
            "picture": picture,
            "psnr": {name: s[row] for name, s in denoised.psnr.items()},
        }
        for row, (key, caption, picture) in enumerate(rows)
    ]
    return {"times": list(TIMES), "samples": samples}
