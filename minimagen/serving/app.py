"""The served model: MLflow's scoring protocol (/ping, /invocations) with limits of its own.

Requests are read beside each other and drawn one after another. Knows no project and no tracking server.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from minimagen import __version__
from minimagen.pipeline import Cascade
from minimagen.serving.doors import BodyError, Doors, read_body, refusal
from minimagen.serving.drawing import draw, predictions_of
from minimagen.serving.drawing_queue import (
    DeadlineError,
    DrawingQueue,
    FullError,
    GoneError,
    Job,
    RefusedError,
    StoppingError,
)
from minimagen.serving.request import RequestError, request_of_body

MAX_LOADED = 2
"""Cascades kept in memory; the one used longest ago goes."""
_RETRY_AFTER_STOP_S = 30


class Shelf:
    """Loaded cascades by key; used by the drawing thread alone, and before it starts."""

    def __init__(self, load: Callable[[str], Cascade]) -> None:
        """``load`` reads the cascade of a key."""
        self._load = load
        self._loaded: OrderedDict[str, Cascade] = OrderedDict()

    def take(self, key: str) -> Cascade:
        """Returns a cascade, loaded if it is not in memory."""
        if key not in self._loaded:
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = self._load(key)
        self._loaded.move_to_end(key)
        return self._loaded[key]


def serving_app(line: DrawingQueue, shelf: Shelf, model: str, port: int, routes: Sequence[BaseRoute] = ()) -> Doors:
    """Builds the application.

    Args:
        model: key of the cascade that /invocations draws with.
        port: what it will be served on, a part of the names it answers to.
        routes: of pages beside the scoring protocol.
    """

    async def invocations(request: Request) -> Response:
        asked = request_of_body(await read_body(request))

        def job(check: Callable[[], None]) -> list[dict[str, object]]:
            return predictions_of(draw(shelf.take(model), asked, check=check), asked)

        return JSONResponse({"predictions": await drawn(request, line, job)})

    own = [
        Route("/ping", _ping),
        Route("/health", _ping),
        Route("/version", _version),
        Route("/invocations", invocations, methods=["POST"]),
    ]
    app = Starlette(
        routes=[*own, *routes],
        exception_handlers={
            404: _missing,
            405: _missing,
            RequestError: _refused_request,
            BodyError: _refused_body,
            RefusedError: _refused_work,
            Exception: _failed,
        },
    )
    return Doors(app, port)


async def drawn(request: Request, line: DrawingQueue, job: Job) -> Any:
    """Waits in line for a job, as long as the client and its deadline do, and returns its result.

    Raises:
        RefusedError: there was no room, no time, or nobody left.
    """
    ticket = line.submit(job)
    result, gone = asyncio.wrap_future(ticket.future), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({result, gone}, timeout=line.deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            ticket.give_up(GoneError()) if gone.done() else ticket.late()
        return await result
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ping(request: Request) -> Response:
    return Response("\n", media_type="application/json")


async def _version(request: Request) -> Response:
    return Response(__version__, media_type="application/json")


async def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, "no such page, or not by this method", dict(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(500, "internal error: the server's log has it")


async def _refused_request(request: Request, error: Exception) -> Response:
    return refusal(400, str(error))


async def _refused_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, BodyError)
    return refusal(error.status, str(error), {"connection": "close"})


async def _refused_work(request: Request, error: Exception) -> Response:
    match error:
        case FullError():
            return refusal(503, str(error), {"retry-after": str(error.retry_after_s)})
        case StoppingError():
            return refusal(503, str(error), {"retry-after": str(_RETRY_AFTER_STOP_S), "connection": "close"})
        case DeadlineError():
            return refusal(504, str(error))
        case _:
            return refusal(503, str(error))
