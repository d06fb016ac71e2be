"""Pictures of one coloured shape, and the captions that say what they show: learnt by a small cascade in minutes."""

import io
import random

from PIL import Image, ImageDraw

COLOURS = {"red": "#d92b2b", "green": "#2a9d3a", "blue": "#2850d8", "yellow": "#f2d024"}
SHAPES = ("circle", "square", "triangle")
BACKGROUNDS = {"white": "#ffffff", "black": "#101010"}
SIDE = 96


def shape_caption(rng: random.Random) -> str:
    """Returns one of the captions."""
    return f"a {rng.choice(tuple(COLOURS))} {rng.choice(SHAPES)} on a {rng.choice(tuple(BACKGROUNDS))} background"


def shape_picture(caption: str, rng: random.Random) -> bytes:
    """Draws what a caption says, at a random place and size; what it does not say is random too."""
    words = caption.split()
    colour = next((word for word in words if word in COLOURS), None) or rng.choice(tuple(COLOURS))
    shape = next((word for word in words if word in SHAPES), None) or rng.choice(SHAPES)
    background = next((word for word in words if word in BACKGROUNDS), "white")
    picture = Image.new("RGB", (SIDE, SIDE), BACKGROUNDS[background])
    draw = ImageDraw.Draw(picture)
    radius = rng.uniform(0.2, 0.35) * SIDE
    x, y = (rng.uniform(radius + 4, SIDE - radius - 4) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, COLOURS[colour])
    else:
        draw.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], COLOURS[colour])
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()
