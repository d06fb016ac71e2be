"""Makes files that came into what is stored, or into the reason why not, a bounded amount of memory at a time.

A small picture is decoded on the spot, which takes less time than to hand it over; any other in a thread, one at a
time; and one that a process may have died of in a process apart. Knows no network and no shard.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from minimagen.config import ImageRules
from minimagen.rows import Rejection
from minimagen.sources.decode_apart import decode_apart
from minimagen.sources.decoding_notes import DecodingNotes
from minimagen.sources.image_memory import return_large_blocks
from minimagen.sources.images import NormalisedImage, OpenedImage, finish_image, open_image
from minimagen.sources.outcomes import Fetched
from minimagen.sources.silent_pillow import silent_pillow

logger = logging.getLogger(__name__)

MAX_DECODE_BYTES = 100 * 2**20
"""Memory that decoding one picture may take."""
_SMALL_FILE_BYTES = 64 * 2**10
_SMALL_DECODE_BYTES = 2**20
_HERE, _IN_THREAD = 0, 1


class Decoder:
    """Decodes by the rules of one source; a context manager."""

    def __init__(self, rules: ImageRules, notes: DecodingNotes, suspects: Collection[str]) -> None:
        """Prepares.

        Args:
            notes: where the addresses of the pictures are while they are decoded.
            suspects: addresses whose pictures a process may have died of.
        """
        self._rules, self._notes, self._suspects = rules, notes, suspects
        self._thread = ThreadPoolExecutor(1, "decoder")  # one, so that one big picture is decoded at a time
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return_large_blocks()
        self._stack.enter_context(silent_pillow())
        self._stack.enter_context(self._thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def decode(self, url: str, answer: Fetched) -> NormalisedImage | Rejection | None:
        """Returns what is stored of a file or why nothing is; None if that is not known, and to be tried again."""
        if url in self._suspects:
            logger.warning("%s was being decoded when a process died: it is decoded apart", url)
            return await self._in_thread(lambda: decode_apart(answer.content, self._rules, MAX_DECODE_BYTES))
        if len(answer.body) > _SMALL_FILE_BYTES:
            return await self._in_thread(lambda: self._open_and_finish(url, answer))
        self._notes.set(_HERE, url)
        try:
            opened = open_image(answer.content, self._rules, max_decode_bytes=MAX_DECODE_BYTES)
            if isinstance(opened, Rejection):
                return opened
            if opened.decode_bytes <= _SMALL_DECODE_BYTES:
                return finish_image(opened, self._rules)
        finally:
            self._notes.clear(_HERE)
        return await self._in_thread(lambda: self._finish(url, opened))

    def _open_and_finish(self, url: str, answer: Fetched) -> NormalisedImage | Rejection:
        self._notes.set(_IN_THREAD, url)
        try:
            opened = open_image(answer.content, self._rules, max_decode_bytes=MAX_DECODE_BYTES)
            return opened if isinstance(opened, Rejection) else finish_image(opened, self._rules)
        finally:
            self._notes.clear(_IN_THREAD)

    def _finish(self, url: str, opened: OpenedImage) -> NormalisedImage | Rejection:
        self._notes.set(_IN_THREAD, url)
        try:
            return finish_image(opened, self._rules)
        finally:
            self._notes.clear(_IN_THREAD)

    async def _in_thread(
        self, work: Callable[[], NormalisedImage | Rejection | None]
    ) -> NormalisedImage | Rejection | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
