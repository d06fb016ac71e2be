"""What stage evaluate draws for the first training captions: with the final weights, and with those of earlier epochs.

The paper's figures 5 to 8 show these. Scores nothing and writes no outs.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from minimagen.config import Params
from minimagen.datasets.transforms import to_pixels
from minimagen.evaluation.pairs import DRAWN, REAL, Pairs
from minimagen.pipeline import Cascade
from minimagen.saved_model import read_model
from minimagen.shapes import PixelImages
from minimagen.stages.drawn_pictures import draw_in_batches
from minimagen.stages.evaluation_inputs import CHECKPOINTS, Inputs, pixels_at
from minimagen.stages.measure_captions import Drawn

NUM_PAIRS = 16
NUM_EPOCH_PAIRS = 4


def kept_epochs(params: Params, root: Path) -> list[int]:
    """Returns the epochs after which every U-Net of the cascade kept its weights: one that stopped before it copied has
    not come to all of ``snapshot_epochs``."""
    chosen = [set(params.unets[name].training.snapshot_epochs) for name in params.cascade]
    return [
        epoch
        for epoch in sorted(set.intersection(*chosen))
        if all(_weights_path(root, name, epoch).is_dir() for name in params.cascade)
    ]


def draw_pairs(inputs: Inputs, reproduced: Drawn) -> Pairs:
    """Returns the first training captions with their real pictures and those that the cascade drew."""
    positions = reproduced.positions[:NUM_PAIRS]
    last = inputs.cascade.stages[-1].name
    pictures = {REAL: pixels_at(inputs.training, positions), DRAWN: reproduced.pixels[last][:NUM_PAIRS]}
    return Pairs(tuple(inputs.training.captions[position] for position in positions), pictures)


def draw_epochs(inputs: Inputs, reproduced: Drawn) -> Pairs | None:
    """Returns the first training captions as they were drawn after each kept epoch; None where none was kept.

    The noise is the same each time, that of the final pictures.
    """
    epochs = kept_epochs(inputs.params, inputs.root)
    if not epochs:
        return None
    positions = reproduced.positions[:NUM_EPOCH_PAIRS]
    pictures = {REAL: pixels_at(inputs.training, positions)}
    for epoch in epochs:
        drawn = draw_in_batches(
            positions,
            folder=inputs.folder / f"epoch-{epoch:05d}",
            batch_size=inputs.params.evaluate.batch_size,
            draw=partial(_draw_after, inputs, epoch),
            report=inputs.report,
        )
        pictures[f"after {epoch} epochs"] = drawn[DRAWN]
    return Pairs(tuple(inputs.training.captions[position] for position in positions), pictures)


def _draw_after(inputs: Inputs, epoch: int, positions: Sequence[int]) -> dict[str, PixelImages]:
    params, training = inputs.params, inputs.training
    models = {name: read_model(_weights_path(inputs.root, name, epoch)) for name in params.cascade}
    cascade = Cascade(models, {name: params.sampling[name] for name in models}, device=inputs.device)
    pictures = cascade.draw(
        *training.embeds.padded(positions),
        seed=params.evaluate.seed,
        sample_ids=[training.keys[position] for position in positions],
    )
    return {DRAWN: to_pixels(pictures[params.cascade[-1]])}


def _weights_path(root: Path, unet: str, epoch: int) -> Path:
    return root / CHECKPOINTS / unet / f"epoch-{epoch:05d}"
