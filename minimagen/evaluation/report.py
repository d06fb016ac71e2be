"""The evaluation as one HTML file that needs nothing else: pictures inline, no script, no request.

Knows no model and measures nothing; the page's wording and looks are in ``report.html.j2``.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from numpy import ndarray
from PIL import Image

from minimagen.evaluation.data_account import DataAccount
from minimagen.evaluation.results import Results
from minimagen.shapes import PixelImages


@dataclass(frozen=True, slots=True)
class Column:
    """One kind of picture, a picture for each row of a gallery."""

    label: str
    pictures: PixelImages


@dataclass(frozen=True, slots=True)
class CaptionGallery:
    """Captions and what was drawn for them."""

    captions: Sequence[str]
    columns: Sequence[Column]
    main: str
    """Label of the column that the page is about."""
    flags: Sequence[Mapping[str, bool]]
    """Claim -> is it true, for each row; empty mappings where nothing was scored."""


@dataclass(frozen=True, slots=True)
class SuperGallery:
    """Real held-out pictures enlarged by a stage of the cascade, with PSNR in dB."""

    unet: str
    captions: Sequence[str]
    columns: Sequence[Column]
    main: str
    """Label of the column that the page is about."""
    psnr: Sequence[float]
    psnr_bicubic: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """The training curves of one U-Net."""

    unet: str
    labels: Sequence[str]
    svg: str
    """Trusted markup, as ``curves.draw_lines`` makes it."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows."""

    results: Results
    held_out: CaptionGallery
    training: CaptionGallery
    epochs: CaptionGallery | None
    """The same training captions after more and more epochs; None where no weights were kept."""
    super_galleries: Sequence[SuperGallery]
    charts: Sequence[Chart]
    accounts: Sequence[DataAccount]
    parameters: Mapping[str, str]
    """Dotted name -> value, as text."""
    remarks: Sequence[str]
    """Sentences on what could not be measured, and why."""
    reasons: Sequence[str] = ()
    """Sentences on what went wrong, and why; none where nothing did."""
    copying_charts: Sequence[Chart] = ()
    """How near drawn pictures came to training pictures while U-Nets were trained."""


def render_report(report: Report) -> str:
    """Returns the page; equal reports give equal bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "png": png_uri}
    template = environment.from_string(files("minimagen.evaluation").joinpath("report.html.j2").read_text())
    return template.render(report=report, results=report.results, verdict=verdict(report.results))


def verdict(results: Results) -> str:
    """Returns the evaluation in a sentence: alignment where it was scored, else super-resolution, else reproduction."""
    if results.alignment is not None:
        joint = results.alignment.joint
        right = f"{joint.share.num_right} of {joint.share.num_total}"
        return f"{right} held-out captions drawn with every attribute right (chance {percent(joint.chance)})"
    enlarged = [unet.super_resolution for unet in results.unets if unet.super_resolution is not None]
    if enlarged:
        gain = enlarged[-1].gain
        side = "better" if gain.mean >= 0 else "worse"
        interval = f"95 % interval {gain.low:+.2f} to {gain.high:+.2f} dB"
        return f"Held-out pictures enlarged {abs(gain.mean):.2f} dB {side} than by bicubic upscaling ({interval})"
    share = results.reproduction
    return f"{share.num_right} of {share.num_total} training captions give back a picture of that caption"


def percent(share: float) -> str:
    """Returns a share as text: 0.958 is "95.8 %", and a small one keeps one digit that is not zero."""
    decimals = 1 if share == 0 or share >= 0.0005 else 3
    return f"{100 * share:.{decimals}f} %"


def png_uri(pixels: ndarray) -> str:
    """Returns a picture (uint8 HWC) as a data URI that holds a PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
