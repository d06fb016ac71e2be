"""Serves an application to this machine alone until a signal says stop, and then lets what is open finish.

Uvicorn with the patience it lacks: a connection that does not ask, or does not take its answer, is closed in time, so
that slow ones cost others nothing. Knows no route.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from minimagen.errors import UserError
from minimagen.serving.doors import HOST, MAX_HEAD_BYTES
from minimagen.serving.drawing_queue import DrawingQueue

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
HEAD_TIMEOUT_S = 10.0
"""How long a request may take until its headers are complete."""
TAKE_TIMEOUT_S = 30.0
"""How long a client may leave its answer untaken."""
KEEP_ALIVE_S = 5
FINISH_S = 25.0
"""What is being drawn at the end has so long; with ``CLOSE_S`` it is less than 30 s."""
CLOSE_S = 4.0


def listen(port: int) -> socket.socket:
    """Opens a port of 127.0.0.1; 0 is any free one.

    Raises:
        UserError: the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} is taken: {error.strerror}") from error
    return listener


def serve_until_signal(app: ASGIApp, listener: socket.socket, line: DrawingQueue, on_ready: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM, then refuses what is new and finishes what is open within 30 s.

    Args:
        listener: of ``listen``; closed at the end.
        line: closed at the end; what it has not done by then is given up and told so.
        on_ready: called once, as soon as requests are answered.
    """
    config = uvicorn.Config(
        app,
        http=_PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(FINISH_S + CLOSE_S),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    # Uvicorn raises the signal again when it is done: this is what it then meets.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _DrainingServer(config, line, on_ready).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        line.give_up()
        if not line.join(CLOSE_S / 4):
            logger.warning("the step that is being drawn is left undone")
            os._exit(0)


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, line: DrawingQueue, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._line = line
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._line.close()
        asyncio.get_running_loop().call_later(FINISH_S, self._line.give_up)
        await super().shutdown(sockets)


class _PatientProtocol(H11Protocol):
    """A connection with a time for each thing that a client can be slow at."""

    _head_timer: asyncio.TimerHandle | None = None
    _take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_timer = _cancelled(self._head_timer)
        self._take_timer = _cancelled(self._take_timer)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._take_timer = self._take_timer or self.loop.call_later(TAKE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._take_timer = _cancelled(self._take_timer)

    def _watch_head(self) -> None:
        """Lets the time run while headers are awaited, from the first connection or byte of them on."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_timer = _cancelled(self._head_timer)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
