"""A comparison of experiments as one HTML file that needs nothing else: table, pictures and curves side by side.

Measures nothing; the page's wording and looks are in ``comparison.html.j2``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table."""

    text: str
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """All that the page shows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sheet: str | None
    """Pictures of all experiments as a data URI; None where none were drawn."""
    sheet_text: str
    """What the pictures show, in words."""
    figure: str | None
    """Trusted markup; None where nothing can be drawn."""
    curves: str | None
    """Losses while training, trusted markup; None where there are none."""


def render_comparison(page: ComparisonPage) -> str:
    """Returns the page; equal comparisons give equal bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("minimagen.evaluation").joinpath("comparison.html.j2").read_text())
    return template.render(page=page)
