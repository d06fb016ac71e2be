"""All that stage evaluate measures, in order; each measurement has its own place in ``measure_captions``,
``measure_features``, ``measure_unets`` or ``measure_denoising``.

Writes no outs.
"""

from dataclasses import dataclass

from minimagen.evaluation.memorisation import reproduction_share
from minimagen.evaluation.pairs import Pairs
from minimagen.evaluation.results import Results
from minimagen.stages.evaluation_inputs import Inputs
from minimagen.stages.measure_captions import (
    Drawn,
    StageScores,
    draw_captions,
    is_reproduced,
    measure_copying,
    score_alignment,
)
from minimagen.stages.measure_denoising import Denoised, measure_denoising
from minimagen.stages.measure_epochs import draw_epochs, draw_pairs
from minimagen.stages.measure_features import measure_features
from minimagen.stages.measure_unets import Enlargements, enlarge_held_out, measure_unets


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that was measured, and the pictures it was measured on."""

    drawn: Drawn
    """For held-out captions."""
    reproduced: Drawn
    """For training captions."""
    is_reproduced: list[bool]
    pairs: Pairs
    """The first training captions with their real and their drawn pictures."""
    epochs: Pairs | None
    """The same captions after fewer epochs; None where the training kept none."""
    scores: dict[str, StageScores]
    enlarged: dict[str, Enlargements]
    denoised: Denoised
    results: Results


def measure(inputs: Inputs) -> Measurements:
    """Draws what has to be drawn and measures it."""
    config = inputs.params.evaluate
    drawn = draw_captions(inputs, inputs.held_out, config.num_captions, "held-out")
    reproduced = draw_captions(inputs, inputs.training, config.num_training_captions, "training")
    right = is_reproduced(inputs, reproduced)
    scores = score_alignment(inputs, drawn)
    enlarged = enlarge_held_out(inputs)
    first, last = inputs.cascade.stages[0].name, inputs.cascade.stages[-1].name
    results = Results(
        alignment=scores[last].alignment if scores else None,
        base_alignment=scores[first].alignment if scores and first != last else None,
        unets=measure_unets(inputs, enlarged),
        reproduction=reproduction_share(right),
        copying=measure_copying(inputs, drawn),
        features=measure_features(inputs, drawn),
        num_evaluations=sum(stage.settings.num_evaluations for stage in inputs.cascade.stages),
    )
    return Measurements(
        drawn=drawn,
        reproduced=reproduced,
        is_reproduced=right,
        pairs=draw_pairs(inputs, reproduced),
        epochs=draw_epochs(inputs, reproduced),
        scores=scores,
        enlarged=enlarged,
        denoised=measure_denoising(inputs),
        results=results,
    )
