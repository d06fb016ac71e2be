"""What an evaluation found, as types; the shape of metrics.json.

Knows no model, picture or file: the stage measures and fills these, the report shows them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from minimagen.evaluation.frechet_distance import FrechetDistance
from minimagen.evaluation.metrics import Estimate, PairedInterval, Share
from minimagen.evaluation.picture_verdict import Verdict
from minimagen.features.network import FeatureIdentity

MetricTree: TypeAlias = "dict[str, int | float | MetricTree]"
"""Numbers under names, nested, as metrics.json holds them."""


@dataclass(frozen=True, slots=True)
class AttributeResult:
    """How often one attribute of the caption is right in the picture, each as a share from 0 to 1."""

    name: str
    share: Share
    shuffled: float | None
    """Right when each picture is scored against another caption; None where there is no other caption."""
    chance: float
    """Right when any scene is drawn, whatever the caption."""


@dataclass(frozen=True, slots=True)
class AlignmentResult:
    """How often pictures show what their captions say."""

    joint: AttributeResult
    """Every attribute right at once."""
    attributes: tuple[AttributeResult, ...]


@dataclass(frozen=True, slots=True)
class TimeBin:
    """The held-out loss within one interval of diffusion time."""

    start: float
    end: float
    loss: float


@dataclass(frozen=True, slots=True)
class SuperResolutionResult:
    """Super-resolution of real held-out pictures against bicubic upscaling of the same input, in dB."""

    psnr: float
    psnr_bicubic: float
    gain: PairedInterval
    """Mean of the per-picture differences; above zero the network beats bicubic upscaling."""
    colour_error: float
    """Mean distance of the enlarged pictures, shrunk again, to what they were made from, in levels of 255."""
    num_pairs: int


@dataclass(frozen=True, slots=True)
class UNetResult:
    """What was measured of one stage of the cascade."""

    name: str
    image_size: int
    loss: float
    bins: tuple[TimeBin, ...]
    super_resolution: SuperResolutionResult | None


@dataclass(frozen=True, slots=True)
class CopyingResult:
    """How near pictures drawn for held-out captions are to training pictures, beside real held-out pictures."""

    generated: float
    """Median distance to the nearest training picture (root mean square of values in [-1, 1])."""
    held_out: float
    """The same of the real held-out pictures of the same captions: what is usual without copying."""
    ratio: float
    """Median of that distance in units of the usual one between such pictures (``memorisation.Nearest.ratios``)."""
    held_out_ratio: float
    copies: Share
    """Drawn pictures that are copies of training pictures."""
    num_held_out_copies: int
    """Real held-out pictures that are as near to a training picture as a copy."""
    num_repeated: int
    """Drawn pictures that are the same as one drawn for another caption."""


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """How often the right caption is found for a drawn picture among distractors, by features."""

    share: Share
    shuffled: Share | None
    """The same pictures asked for each other's captions; None where there is no other caption."""
    real: Share | None
    """Of the real pictures, where captions have features; None where a real picture stands for its caption."""
    num_candidates: int

    @property
    def chance(self) -> float:
        """The share that guessing reaches."""
        return 1.0 / self.num_candidates


@dataclass(frozen=True, slots=True)
class FeatureResult:
    """Drawn pictures beside real held-out ones in the features of a network."""

    network: FeatureIdentity
    num_drawn: int
    num_real: int
    kid: Estimate
    kid_of_training: Estimate
    """Of real training pictures, as many as were drawn: what a perfect model reaches about."""
    fid: FrechetDistance | None
    """None where there are too few pictures."""
    clip_score: Estimate | None
    """100 times the mean cosine of picture and caption, at least 0 (Hessel et al. 2021); None without captions."""
    clip_score_of_real: Estimate | None
    retrieval: RetrievalResult | None
    """None where there is only one caption."""
    look: Verdict
    """Of the first of the drawn pictures."""


@dataclass(frozen=True, slots=True)
class Results:
    """All that metrics.json says."""

    alignment: AlignmentResult | None
    """None where no source knows the true content of its pictures."""
    base_alignment: AlignmentResult | None
    """The same of the base U-Net's pictures; None also where the cascade is the base alone."""
    unets: tuple[UNetResult, ...]
    reproduction: Share
    copying: CopyingResult
    features: FeatureResult | None
    """None where fewer than two pictures of a kind are at hand."""
    num_evaluations: int


def to_metrics(results: Results) -> MetricTree:
    """Returns the record of metrics.json; what was not measured is absent."""
    tree: MetricTree = {
        "unets": {unet.name: _unet_metrics(unet) for unet in results.unets},
        "reproduction": {
            "top1": results.reproduction.value,
            "num_right": results.reproduction.num_right,
            "num_pairs": results.reproduction.num_total,
        },
        "copying": _copying_metrics(results.copying),
        "sampling": {"num_evaluations": results.num_evaluations},
    }
    if results.alignment is not None:
        tree["alignment"] = _alignment_metrics(results.alignment)
    if results.base_alignment is not None:
        tree["base_alignment"] = _alignment_metrics(results.base_alignment)
    if results.features is not None:
        tree["features"] = _feature_metrics(results.features)
    if results.features is not None and results.features.retrieval is not None:
        tree["retrieval"] = _retrieval_metrics(results.features.retrieval)
    return tree


def _copying_metrics(copying: CopyingResult) -> MetricTree:
    return {
        "distance_generated": copying.generated,
        "distance_held_out": copying.held_out,
        "ratio_generated": copying.ratio,
        "ratio_held_out": copying.held_out_ratio,
        "share_copied": copying.copies.value,
        "num_copies": copying.copies.num_right,
        "num_held_out_copies": copying.num_held_out_copies,
        "num_repeated": copying.num_repeated,
    }


def _feature_metrics(features: FeatureResult) -> MetricTree:
    tree = _estimate("kid", features.kid) | _estimate("kid_of_training", features.kid_of_training)
    tree |= {"num_drawn": features.num_drawn, "num_real": features.num_real}
    if features.fid is not None:
        tree |= _estimate("fid", features.fid.corrected) | {"fid_usual": features.fid.usual}
    if features.clip_score is not None and features.clip_score_of_real is not None:
        tree |= _estimate("clip_score", features.clip_score)
        tree |= _estimate("clip_score_of_real", features.clip_score_of_real)
    return tree


def _estimate(name: str, estimate: Estimate) -> MetricTree:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _retrieval_metrics(retrieval: RetrievalResult) -> MetricTree:
    share = retrieval.share
    tree: MetricTree = {"top1": share.value, "top1_low": share.low, "top1_high": share.high, "chance": retrieval.chance}
    tree |= {"num_right": share.num_right, "num_captions": share.num_total, "num_candidates": retrieval.num_candidates}
    if retrieval.shuffled is not None:
        tree["shuffled"] = retrieval.shuffled.value
    if retrieval.real is not None:
        tree["real"] = retrieval.real.value
    return tree


def _alignment_metrics(alignment: AlignmentResult) -> MetricTree:
    joint = alignment.joint
    by_attribute = {attribute.name: attribute for attribute in alignment.attributes}
    tree: MetricTree = {
        "joint": joint.share.value,
        **{name: attribute.share.value for name, attribute in by_attribute.items()},
        "chance": joint.chance,
        "joint_low": joint.share.low,
        "joint_high": joint.share.high,
        "num_right": joint.share.num_right,
        "num_captions": joint.share.num_total,
        "chance_by_attribute": {name: attribute.chance for name, attribute in by_attribute.items()},
    }
    if joint.shuffled is not None:
        controls = {name: attribute.shuffled for name, attribute in by_attribute.items()}
        tree["shuffled"] = joint.shuffled
        tree["shuffled_by_attribute"] = {name: share for name, share in controls.items() if share is not None}
    return tree


def _unet_metrics(unet: UNetResult) -> MetricTree:
    bins: MetricTree = {f"{item.start:.2f}-{item.end:.2f}": item.loss for item in unet.bins}
    metrics: MetricTree = {"loss": unet.loss, "loss_by_time": bins}
    found = unet.super_resolution
    if found is not None:
        gain: MetricTree = {"mean": found.gain.mean, "low": found.gain.low, "high": found.gain.high}
        metrics |= {"psnr": found.psnr, "psnr_bicubic": found.psnr_bicubic, "psnr_gain": gain}
        metrics |= {"colour_error": found.colour_error, "num_super_pairs": found.num_pairs}
    return metrics


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields every value that is not itself a table with its dotted name, as in ("unets.base.loss", 0.06)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
