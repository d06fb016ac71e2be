"""What an evaluation found, as types; the shape of metrics.json.

Knows no model, picture or file: the stage measures and fills these, the report shows them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from minimagen.evaluation.metrics import PairedInterval, Share

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
    """Median distance to the nearest training picture (root mean square of values in [-1, 1])."""

    generated: float
    """Of pictures drawn for held-out captions."""
    held_out: float
    """Of the real held-out pictures of the same captions: what is usual without copying."""


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
        "copying": {"distance_generated": results.copying.generated, "distance_held_out": results.copying.held_out},
        "sampling": {"num_evaluations": results.num_evaluations},
    }
    if results.alignment is not None:
        tree["alignment"] = _alignment_metrics(results.alignment)
    if results.base_alignment is not None:
        tree["base_alignment"] = _alignment_metrics(results.base_alignment)
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
        metrics |= {"num_super_pairs": found.num_pairs}
    return metrics


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields every value that is not itself a table with its dotted name, as in ("unets.base.loss", 0.06)."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
