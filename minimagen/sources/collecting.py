"""Asks for many pictures at a time and makes each into what is stored, or into the reason why it is not.

Knows no shard. What it takes in memory is bounded whatever hosts send: so many files in flight, and one big picture at
a time being decoded, which is refused at its header if it would take too much.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from minimagen.rows import Rejection
from minimagen.sources.decoding import Decoder
from minimagen.sources.images import NormalisedImage
from minimagen.sources.outcomes import Fetched, Postponed, Refused

_MAX_DETAIL_CHARS = 300

Fetch = Callable[[str], Awaitable[Fetched | Refused | Postponed]]
Keep = Callable[[str, NormalisedImage | Rejection], None]


async def collect(urls: Sequence[str], fetch: Fetch, decoder: Decoder, keep: Keep, *, num_at_once: int) -> None:
    """Asks for each address, and keeps what came of it; what is postponed is not kept.

    An address holds its place from the question until its outcome is kept, so a kill loses ``num_at_once`` at most.
    """
    rest = iter(by_turns(urls))

    async def work() -> None:
        for url in rest:
            answer = await fetch(url)
            if isinstance(answer, Refused):
                keep(url, Rejection(answer.reason, _printable(answer.detail)))
            elif isinstance(answer, Fetched) and (outcome := await decoder.decode(url, answer)) is not None:
                keep(url, outcome)

    await asyncio.gather(*(work() for _ in range(min(num_at_once, len(urls)))))


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
