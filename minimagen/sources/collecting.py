"""Asks for many pictures at a time and makes each into what is stored, or into the reason why it is not.

Knows no shard. What it takes in memory is bounded whatever hosts send: so many files in flight, and one picture at a
time being decoded, which is refused at its header if it would take too much.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from minimagen.config import ImageRules
from minimagen.rows import Rejection
from minimagen.sources.image_memory import return_large_blocks
from minimagen.sources.images import NormalisedImage, finish_image, open_image
from minimagen.sources.outcomes import Fetched, Postponed, Refused
from minimagen.sources.silent_pillow import silent_pillow

MAX_DECODE_BYTES = 100 * 2**20
"""Memory that decoding one picture may take."""
_SMALL_FILE_BYTES = 64 * 2**10
_SMALL_DECODE_BYTES = 2**20
_MAX_DETAIL_CHARS = 300

Fetch = Callable[[str], Awaitable[Fetched | Refused | Postponed]]
Keep = Callable[[str, NormalisedImage | Rejection], None]


async def collect(urls: Sequence[str], fetch: Fetch, keep: Keep, *, rules: ImageRules, num_at_once: int) -> None:
    """Asks for each address, and keeps what came of it; what is postponed is not kept.

    An address holds its place from the question until its outcome is kept, so a kill loses ``num_at_once`` at most.
    """
    return_large_blocks()
    rest = iter(by_turns(urls))

    async def work(decoder: ThreadPoolExecutor) -> None:
        for url in rest:
            answer = await fetch(url)
            if isinstance(answer, Refused):
                keep(url, Rejection(answer.reason, _printable(answer.detail)))
            elif isinstance(answer, Fetched):
                keep(url, await _normalise(answer, rules, decoder))

    # One thread, so that one big picture is decoded at a time.
    with silent_pillow(), ThreadPoolExecutor(1, "decoder") as decoder:
        await asyncio.gather(*(work(decoder) for _ in range(min(num_at_once, len(urls)))))


async def _normalise(answer: Fetched, rules: ImageRules, decoder: ThreadPoolExecutor) -> NormalisedImage | Rejection:
    """Decodes a small picture here, which takes less time than to hand it over, and any other one in the thread."""
    if len(answer.body) > _SMALL_FILE_BYTES:
        return await _in_thread(decoder, lambda: _open_and_finish(answer, rules))
    opened = open_image(answer.content, rules, max_decode_bytes=MAX_DECODE_BYTES)
    if isinstance(opened, Rejection):
        return opened
    if opened.decode_bytes <= _SMALL_DECODE_BYTES:
        return finish_image(opened, rules)
    return await _in_thread(decoder, lambda: finish_image(opened, rules))


def _open_and_finish(answer: Fetched, rules: ImageRules) -> NormalisedImage | Rejection:
    opened = open_image(answer.content, rules, max_decode_bytes=MAX_DECODE_BYTES)
    return opened if isinstance(opened, Rejection) else finish_image(opened, rules)


async def _in_thread(
    decoder: ThreadPoolExecutor, work: Callable[[], NormalisedImage | Rejection]
) -> NormalisedImage | Rejection:
    return await asyncio.get_running_loop().run_in_executor(decoder, work)


def by_turns(urls: Sequence[str]) -> list[str]:
    """Orders addresses so that hosts take turns: one that is asked gently then holds up its own pictures only."""
    num_before: Counter[str] = Counter()
    rounds: list[int] = []
    for url in urls:
        host = url.partition("://")[2].partition("/")[0]
        rounds.append(num_before[host])
        num_before[host] += 1
    return [urls[index] for index in sorted(range(len(urls)), key=rounds.__getitem__)]


def _printable(text: str) -> str:
    """Returns what can be stored as UTF-8: headers may hold bytes that are none."""
    return text[:_MAX_DETAIL_CHARS].encode("utf-8", "backslashreplace").decode()
