"""The routes of the page: what there is to choose, and one request drawn with its way from noise and its neighbours.

The page itself is three files beside this one; nothing in it comes from elsewhere. Knows no project.
"""

import asyncio
import importlib.resources
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minimagen.serving.app import Shelf, drawn
from minimagen.serving.doors import read_body
from minimagen.serving.drawing import Drawing, draw, png_base64
from minimagen.serving.drawing_queue import Check, DrawingQueue
from minimagen.serving.neighbours import Neighbour, TrainingPictures
from minimagen.serving.request import (
    MAX_GUIDANCE,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
    RequestError,
    json_object,
    request_of,
)

NUM_NEIGHBOURS = 3
PAGE = {
    "/": ("studio.html", "text/html"),
    "/studio.css": ("studio.css", "text/css"),
    "/studio.js": ("studio.js", "text/javascript"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A cascade that the page offers."""

    key: str
    title: str


@dataclass(frozen=True, slots=True)
class Studio:
    """What the page shows, as its project has it."""

    choices: Callable[[], Sequence[Choice]]
    """Asks for the cascades there are; may take a while."""
    training: Callable[[], TrainingPictures | None]
    """Opens the training pictures, None if there are none here; asked once, by the drawing thread."""


def studio_routes(studio: Studio, line: DrawingQueue, shelf: Shelf) -> list[Route]:
    """Returns the routes of the page."""
    shown = _Shown(studio)

    async def models(request: Request) -> Response:
        offered = await asyncio.to_thread(shown.offer)
        limits = {"prompt": MAX_PROMPT_CHARS, "pictures": MAX_PICTURES, "steps": MAX_STEPS, "guidance": MAX_GUIDANCE}
        return JSONResponse({"models": [asdict(one) for one in offered], "limits": limits | {"seed": MAX_SEED}})

    async def draw_one(request: Request) -> Response:
        fields = json_object(await read_body(request))
        model, prompt = fields.pop("model", None), fields.pop("prompt", None)
        if not isinstance(model, str) or model not in shown.keys:
            raise RequestError("model: no such cascade; load the page again")
        asked = request_of([prompt], fields)

        def job(check: Check) -> dict[str, object]:
            drawing = draw(shelf.take(model), asked, has_strips=True, check=check)
            return shown.answer(drawing)

        return JSONResponse(await drawn(request, line, job))

    return [
        *_page_routes(),
        Route("/api/models", models),
        Route("/api/draw", draw_one, methods=["POST"]),
    ]


class _Shown:
    """What was offered, and the training pictures once they are open."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = threading.Lock()
        self._training: TrainingPictures | None = None
        self._is_open = False
        self.keys: frozenset[str] = frozenset()

    def offer(self) -> Sequence[Choice]:
        with self._lock:  # the tracking server is asked by one at a time
            choices = self._studio.choices()
        self.keys |= {choice.key for choice in choices}
        return choices

    def answer(self, drawing: Drawing) -> dict[str, object]:
        """Returns what the page shows; called in the drawing thread alone."""
        if not self._is_open:
            self._training, self._is_open = self._studio.training(), True
        last = list(drawing.pixels.values())[-1]
        neighbours = [[]] * len(last) if self._training is None else self._training.nearest(last, NUM_NEIGHBOURS)
        stages = [{"name": name, "size_px": int(pixels.shape[1])} for name, pixels in drawing.pixels.items()]
        return {
            "stages": stages,
            "num_training": 0 if self._training is None else len(self._training),
            "pictures": [_picture(drawing, index, found) for index, found in enumerate(neighbours)],
        }


def _picture(drawing: Drawing, index: int, neighbours: Sequence[Neighbour]) -> dict[str, object]:
    return {
        "pixels": {name: png_base64(pixels[index]) for name, pixels in drawing.pixels.items()},
        "strips": {name: png_base64(pixels[index]) for name, pixels in drawing.strips.items()},
        "nearest": [
            {"caption": one.caption, "distance": round(one.distance, 4), "png": png_base64(one.pixels)}
            for one in neighbours
        ],
    }


def _page_routes() -> Iterator[Route]:
    folder = importlib.resources.files("minimagen.serving")
    for path, (name, kind) in PAGE.items():
        content = folder.joinpath(name).read_bytes()

        async def page(request: Request, content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        yield Route(path, page)
