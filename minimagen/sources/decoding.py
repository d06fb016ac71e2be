"""Makes files that came into what is stored, or into the reason why not, a bounded amount of memory at a time.

Small pictures are decoded on the spot, which takes less time than to hand them over, those that came at the same time
step by step together; any other in a thread, one at a time; and one that a process may have died of in a process apart.
Knows no network and no shard.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from minimagen.config import ImageRules
from minimagen.heap import return_large_blocks
from minimagen.rows import Rejection
from minimagen.sources.decode_apart import decode_apart
from minimagen.sources.decoding_notes import DecodingNotes
from minimagen.sources.images import NormalisedImage, OpenedImage, finish_image, finish_images, open_image
from minimagen.sources.outcomes import Fetched
from minimagen.sources.silent_pillow import silent_pillow

logger = logging.getLogger(__name__)

MAX_DECODE_BYTES = 100 * 2**20
"""Memory that decoding one picture may take."""
_SMALL_FILE_BYTES = 64 * 2**10
_SMALL_DECODE_BYTES = 2**20
_TOGETHER = 16
"""Small pictures that are decoded step by step, at most."""
_HERE, _IN_THREAD = 0, 1


@dataclass(frozen=True, slots=True)
class _SmallFile:
    """A file that came and is about to be decoded."""

    url: str
    answer: Fetched
    outcome: asyncio.Future[OpenedImage | NormalisedImage | Rejection]


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
        self._small: list[_SmallFile] = []
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
        opened = await self._open_or_finish(url, answer)
        return await self._in_thread(lambda: self._finish(url, opened)) if isinstance(opened, OpenedImage) else opened

    async def _open_or_finish(self, url: str, answer: Fetched) -> OpenedImage | NormalisedImage | Rejection:
        """Returns what is stored of a small picture or why nothing is; of another what its header said."""
        small = _SmallFile(url, answer, asyncio.get_running_loop().create_future())
        self._small.append(small)
        if len(self._small) == 1:
            await asyncio.sleep(0)  # all that has come by now comes along
            while self._small:
                batch, self._small = self._small[:_TOGETHER], self._small[_TOGETHER:]
                self._decode_together(batch)
        return await small.outcome

    def _decode_together(self, batch: Sequence[_SmallFile]) -> None:
        opened: list[OpenedImage] = []
        waiting: list[_SmallFile] = []
        try:
            for file in batch:
                self._notes.set(_HERE, file.url)
                image = open_image(file.answer.content, self._rules, max_decode_bytes=MAX_DECODE_BYTES)
                if isinstance(image, Rejection) or image.decode_bytes > _SMALL_DECODE_BYTES:
                    file.outcome.set_result(image)
                else:
                    opened.append(image)
                    waiting.append(file)
            outcomes = finish_images(
                opened, self._rules, begin=lambda place: self._notes.set(_HERE, waiting[place].url)
            )
        finally:
            self._notes.clear(_HERE)
        for file, outcome in zip(waiting, outcomes, strict=True):
            file.outcome.set_result(outcome)

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
