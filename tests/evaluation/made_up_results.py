"""Results of an evaluation that nobody made, every part of them there."""

from minimagen.evaluation.frechet_distance import FrechetDistance
from minimagen.evaluation.metrics import Estimate, PairedInterval, share_of
from minimagen.evaluation.picture_verdict import Verdict
from minimagen.evaluation.results import (
    AlignmentResult,
    AttributeResult,
    CopyingResult,
    FeatureResult,
    Results,
    RetrievalResult,
    SuperResolutionResult,
    TimeBin,
    UNetResult,
)
from minimagen.features.network import FeatureIdentity


def made_up_results() -> Results:
    """Returns the results of a good cascade of two, scored exactly and by a CLIP."""
    joint = AttributeResult("joint", share_of(138, 144), shuffled=0.007, chance=0.0014)
    size = AttributeResult("size", share_of(140, 144), shuffled=0.5, chance=0.5)
    found = SuperResolutionResult(27.0, 24.0, PairedInterval(3.0, 2.5, 3.5), colour_error=0.5, num_pairs=200)
    bins = (TimeBin(0.0, 0.5, 0.02), TimeBin(0.5, 1.0, 0.04))
    return Results(
        alignment=AlignmentResult(joint, (size,)),
        base_alignment=None,
        unets=(UNetResult("base", 4, 0.03, bins, None), UNetResult("super", 8, 0.01, bins, found)),
        reproduction=share_of(7, 8),
        copying=CopyingResult(0.1, 0.2, 0.5, 0.55, share_of(1, 144), 0, 0),
        features=FeatureResult(
            network=FeatureIdentity("acme/clip", "0123456789abcdef", "ff", is_comparable=True),
            num_drawn=144,
            num_real=512,
            kid=Estimate(0.0123, 0.01, 0.015),
            kid_of_training=Estimate(0.001, -0.001, 0.003),
            fid=FrechetDistance(9.0, Estimate(3.0, 2.0, 4.0)),
            clip_score=Estimate(28.0, 27.0, 29.0),
            clip_score_of_real=Estimate(30.0, 29.0, 31.0),
            retrieval=RetrievalResult(share_of(120, 144), share_of(14, 144), share_of(140, 144), 10),
            look=Verdict("captions", 0.2, 11, 12),
        ),
        num_evaluations=52,
    )
