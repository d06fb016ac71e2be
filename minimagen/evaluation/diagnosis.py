"""Why pictures came out as they did, if they came out badly: reasons in plain words, the gravest first.

Knows the numbers of an evaluation, no picture and no training. Says nothing where nothing is wrong.
"""

from collections.abc import Mapping, Sequence

from minimagen.evaluation.results import Results
from minimagen.few_pictures import are_few

MAX_LOSS_GAP = 2.0
"""Held-out over seen loss from which on a training counts as learning by heart."""
MIN_RIGHT = 0.25
"""Share of captions below which pictures count as not following them."""
MAX_COPIED = 0.1


def diagnose(
    results: Results,
    *,
    num_training_pictures: int,
    loss_gaps: Mapping[str, float],
    shortfalls: Sequence[str],
    caption_problems: Sequence[str],
) -> list[str]:
    """Returns what went wrong and what to do.

    Args:
        loss_gaps: by U-Net, the held-out loss over that of training pictures at the end of training.
        shortfalls: sentences on trainings that were short.
        caption_problems: sentences on the captions.
    """
    reasons = [
        *_looks(results),
        *_captions(results),
        *_enlarging(results),
        *_copying(results, num_training_pictures, loss_gaps),
    ]
    if not reasons:
        return []
    causes = [f"It may have been too short: {line}." for line in shortfalls]
    return reasons + causes + [f"The captions may be at fault: {line}." for line in caption_problems]


def _looks(results: Results) -> list[str]:
    look = None if results.features is None else results.features.look
    if look is None or look.look not in ("blank", "noise"):
        return []
    word = "hardly show anything" if look.look == "blank" else "are noise"
    return [f"The drawn pictures {word}: train longer, or look whether the loss has fallen at all."]


def _captions(results: Results) -> list[str]:
    retrieval = None if results.features is None else results.features.retrieval
    if results.alignment is not None:
        found, chance = results.alignment.joint.share, results.alignment.joint.chance
    elif retrieval is not None:
        found, chance = retrieval.share, retrieval.chance
    else:
        return []
    if found.value >= MIN_RIGHT and found.low > chance:
        return []
    return [
        f"The pictures do not follow their captions ({found.num_right} of {found.num_total} right): captions are "
        "learnt after shapes, so train longer; a guidance scale above 1 helps if captions were dropped in training."
    ]


def _enlarging(results: Results) -> list[str]:
    return [
        f"{unet.name} makes pictures worse than plain enlarging does ({unet.super_resolution.gain.mean:+.2f} dB): "
        f"train unets.{unet.name} longer, or lower sampling.{unet.name}.aug_level."
        for unet in results.unets
        if unet.super_resolution is not None and unet.super_resolution.gain.high < 0.0
    ]


def _copying(results: Results, num_training_pictures: int, loss_gaps: Mapping[str, float]) -> list[str]:
    if are_few(num_training_pictures):
        return []
    copies, reasons = results.copying.copies, list[str]()
    usual = results.copying.num_held_out_copies / copies.num_total
    if copies.value - usual > MAX_COPIED:
        reasons.append(
            f"{copies.num_right} of {copies.num_total} drawn pictures are copies of training pictures: more pictures, "
            f"unet.dropout or fewer steps help; training.grid.on_copying: stop keeps the weights from before."
        )
    reasons += [
        f"{name} knows its training pictures {gap:.1f} times as well as others (held-out loss over seen loss): it "
        f"learns by heart."
        for name, gap in loss_gaps.items()
        if gap > MAX_LOSS_GAP
    ]
    return reasons
