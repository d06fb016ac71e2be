"""Invented films of the simulated TMDB: drawn posters, overviews that say what is on them, and every trap in the data.

A film is a pure function of (seed, index). Films beyond the first ones appear day by day.
"""

import hashlib
import io
import random
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 40, 40),
    "green": (42, 157, 67),
    "blue": (38, 84, 214),
    "yellow": (250, 206, 36),
    "purple": (126, 56, 170),
    "orange": (245, 130, 32),
}
BACKGROUNDS = {"white": (245, 245, 245), "black": (18, 18, 18), "pink": (250, 170, 190), "grey": (140, 140, 140)}
SHAPES = ("circle", "square", "triangle")
SIZES = {"small": 0.22, "large": 0.4}
LANGUAGES = ("en", "fr", "es", "ja", "de", "ko", "zh", "it", "xx")
START = date(2026, 10, 1)
"""The day on which the first films are all there."""
FILMS_PER_DAY = 40


@dataclass(frozen=True, slots=True)
class Film:
    """One invented film."""

    id: int
    title: str
    tagline: str
    size: str
    colour: str
    shape: str
    background: str
    language: str
    released: date | None
    added: date
    """The day on which the service first knows it."""
    votes: int
    popularity: float
    has_overview: bool
    has_poster: bool
    has_textless: bool
    adult: bool
    softcore: bool
    video: bool

    @property
    def overview(self) -> str:
        """What is on the poster; empty where the service has no overview."""
        text = f"A {self.size} {self.colour} {self.shape} on a {self.background} background."
        return text if self.has_overview else ""

    @property
    def poster(self) -> str | None:
        """Path of the poster with the title on it."""
        return self._path("p") if self.has_poster else None

    @property
    def textless(self) -> str | None:
        """Path of the poster without writing."""
        return self._path("t") if self.has_textless else None

    def _path(self, kind: str) -> str:
        return f"/{kind}{self.id}x{hashlib.sha256(f'{kind}{self.id}'.encode()).hexdigest()[:16]}.jpg"


def film_of(seed: int, index: int, num_first: int, spike: float) -> Film:
    """Returns one film.

    Args:
        num_first: films that are there from the start.
        spike: share of films that are said to be released on a 1 January.
    """
    draw = random.Random(f"{seed}:{index}")
    number_later = index - num_first
    added = START if number_later < 0 else START + timedelta(days=1 + number_later // FILMS_PER_DAY)
    votes = 0 if draw.random() < 0.5 else int(10 ** (4 * draw.random()))
    has_poster = draw.random() >= 0.03
    return Film(
        id=100 + 3 * index + draw.randrange(3),
        title=f"{draw.choice(_ARTICLES)} {draw.choice(_WORDS)} {draw.choice(_WORDS)} {draw.randrange(40)}",
        tagline="" if draw.random() < 1 / 3 else f"See the {draw.choice(_WORDS).lower()} before it sees you.",
        size=draw.choice(tuple(SIZES)),
        colour=draw.choice(tuple(COLOURS)),
        shape=draw.choice(SHAPES),
        background=draw.choice(tuple(BACKGROUNDS)),
        language=LANGUAGES[min(int(draw.expovariate(0.6)), len(LANGUAGES) - 1)],
        released=_release_date(draw, added, spike, is_new=number_later >= 0),
        added=added,
        votes=votes,
        popularity=round(votes / 40 + draw.random() * 3, 3),
        has_overview=draw.random() >= 0.03,
        has_poster=has_poster,
        has_textless=has_poster and draw.random() < 0.3,
        adult=draw.random() < 0.01,
        softcore=draw.random() < 0.005,
        video=draw.random() < 0.005,
    )


def _release_date(draw: random.Random, added: date, spike: float, *, is_new: bool) -> date | None:
    kind = draw.random()
    if kind < 0.01:
        return None
    if is_new and draw.random() < 0.95:
        return added - timedelta(days=draw.randrange(30))
    year = 1900 + int(126 * draw.random() ** 0.5)
    if draw.random() < spike:
        return date(year, 1, 1)
    return date(year, 1, 1) + timedelta(days=draw.randrange(270))


def draw_poster(film: Film, width: int, *, has_title: bool) -> bytes:
    """Returns a JPEG of two to three: what the overview says, at a place of its own, with the title below or not."""
    draw = random.Random(f"poster:{film.id}")
    height = width * 3 // 2
    picture = Image.new("RGB", (width, height), BACKGROUNDS[film.background])
    canvas = ImageDraw.Draw(picture)
    radius = SIZES[film.size] * width
    x, y = width * draw.uniform(0.42, 0.58), height * draw.uniform(0.35, 0.55)
    if film.shape == "triangle":
        corners = [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
        canvas.polygon(corners, fill=COLOURS[film.colour])
    else:
        outline = canvas.ellipse if film.shape == "circle" else canvas.rectangle
        outline((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[film.colour])
    if has_title:
        canvas.text((width * 0.08, height * 0.88), film.title, fill=(120, 120, 120), font_size=max(8, width // 14))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


@lru_cache(maxsize=8)
def films_of(seed: int, number: int, num_first: int, spike: float) -> tuple[Film, ...]:
    """Returns the first ``number`` films of a catalogue."""
    return tuple(film_of(seed, index, num_first, spike) for index in range(number))


_ARTICLES = ("The", "A", "Our", "No")
_WORDS = (
    *("River", "Lantern", "Winter", "Garden", "Harbour", "Clock", "Mountain", "Letter", "Orchard", "Signal", "Mirror"),
    *("Station", "Feather", "Island", "Thunder", "Window", "Compass", "Valley", "Engine", "Comet", "Bridge", "Forest"),
)
