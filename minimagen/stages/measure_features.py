"""What stage evaluate measures in the features of a network: KID, FID, CLIP score, retrieval of the right caption.

Writes no outs. Which network it is decides what can be measured: captions need one that knows captions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimagen.datasets.captioned import CaptionedImages
from minimagen.datasets.transforms import to_float
from minimagen.evaluation.frechet_distance import frechet_distance, has_enough_pictures
from minimagen.evaluation.kernel_distance import kernel_distance
from minimagen.evaluation.metrics import Estimate, Share, mean_estimate, share_of
from minimagen.evaluation.picture_verdict import Verdict, judge
from minimagen.evaluation.results import FeatureResult, RetrievalResult
from minimagen.evaluation.retrieval import (
    can_exchange,
    cosines,
    count_candidates,
    exchange_captions,
    likeness,
    nearest_own,
    retrieved,
)
from minimagen.evaluation.selection import choose_samples
from minimagen.seeding import generator
from minimagen.shapes import Vectors
from minimagen.stages.evaluation_inputs import Inputs, pixels_at
from minimagen.stages.measure_captions import Drawn
from minimagen.training.validation import spread_indices

NUM_JUDGED = 12


def measure_features(inputs: Inputs, drawn: Drawn) -> FeatureResult | None:
    """Compares pictures drawn for held-out captions with real held-out pictures; None where there is only one."""
    config, network = inputs.params.evaluate, inputs.features
    pictures = network.of_pictures(to_float(drawn.pixels[inputs.cascade.stages[-1].name]))
    num_real = min(config.num_feature_images, len(inputs.held_out))
    real = _features_at(inputs, inputs.held_out, spread_indices(num_real, len(inputs.held_out)))
    if min(len(pictures), len(real)) < 2:
        return None
    chosen = choose_samples(inputs.training.captions, len(pictures), config.seed)
    training = _features_at(inputs, inputs.training, chosen)
    own = _features_at(inputs, inputs.held_out, drawn.positions)
    captions = [inputs.held_out.captions[position] for position in drawn.positions]
    texts = network.of_captions(captions) if network.has_captions else None
    has_fid = has_enough_pictures(len(pictures), len(real), pictures.shape[1])
    return FeatureResult(
        network=network.identity,
        num_drawn=len(pictures),
        num_real=len(real),
        kid=kernel_distance(pictures, real, generator(config.seed, "kid")),
        kid_of_training=kernel_distance(training, real, generator(config.seed, "kid of training")),
        fid=frechet_distance(pictures, real, generator(config.seed, "fid")) if has_fid else None,
        clip_score=None if texts is None else _clip_score(pictures, texts, config.seed),
        clip_score_of_real=None if texts is None else _clip_score(own, texts, config.seed),
        retrieval=_retrieval(pictures, own, texts, captions, config.seed),
        look=_look(inputs, drawn, pictures, own),
    )


def _look(inputs: Inputs, drawn: Drawn, pictures: Vectors, own: Vectors) -> Verdict:
    """Judges the first pictures as a grid in training is judged."""
    shown = to_float(drawn.pixels[inputs.cascade.stages[-1].name][:NUM_JUDGED])
    real = to_float(pixels_at(inputs.held_out, drawn.positions[:NUM_JUDGED]))
    return judge(shown, real, nearest_own(likeness(pictures[:NUM_JUDGED], own[:NUM_JUDGED])))


def _features_at(inputs: Inputs, data: CaptionedImages, positions: Sequence[int]) -> Vectors:
    return inputs.features.of_pictures(to_float(pixels_at(data, positions)))


def _clip_score(pictures: Vectors, texts: Vectors, seed: int) -> Estimate:
    scores = 100.0 * torch.cosine_similarity(pictures.double(), texts.double()).clamp(min=0.0)
    return mean_estimate(scores, generator(seed, "clip score"))


def _retrieval(
    pictures: Vectors, own: Vectors, texts: Vectors | None, captions: Sequence[str], seed: int
) -> RetrievalResult | None:
    """A caption is stood for by its own features, or by the real picture that belongs to it."""
    num_candidates = count_candidates(captions)
    if num_candidates < 2:
        return None
    asked = list(range(len(captions)))

    def share(similarity: Tensor, wanted: Sequence[int]) -> Share:
        return share_of(sum(retrieved(similarity, captions, wanted, seed)), len(captions))

    similarity = likeness(pictures, own) if texts is None else cosines(pictures, texts)
    return RetrievalResult(
        share=share(similarity, asked),
        shuffled=share(similarity, exchange_captions(captions, seed)) if can_exchange(captions) else None,
        real=None if texts is None else share(cosines(own, texts), asked),
        num_candidates=num_candidates,
    )
