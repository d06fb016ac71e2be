"""Files of pictures taken apart into their parts and put together again, whole or broken on purpose.

A part has a kind, a payload and, where its format writes one, a length, which a mutation may make a lie; checksums are
always right, so that what is broken reaches the decoder.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk, segment or block."""

    kind: bytes
    payload: bytes
    length: int | None = None
    """What is written as its length instead of the true one."""


Parts = list[Part]
Mutation = Callable[[Parts, random.Random], Parts]


def split_png(raw: bytes) -> Parts:
    """Takes a PNG apart into chunks."""
    parts: Parts = []
    position = len(PNG_SIGNATURE)
    while position < len(raw):
        (length,) = struct.unpack_from(">I", raw, position)
        parts.append(Part(raw[position + 4 : position + 8], raw[position + 8 : position + 8 + length]))
        position += 12 + length
    return parts


def join_png(parts: Sequence[Part]) -> bytes:
    """Makes a PNG of chunks."""
    chunks: list[bytes] = []
    for part in parts:
        length = len(part.payload) if part.length is None else part.length
        body = part.kind + part.payload
        chunks.append(struct.pack(">I", length & 0xFFFFFFFF) + body + struct.pack(">I", zlib.crc32(body)))
    return PNG_SIGNATURE + b"".join(chunks)


def split_jpeg(raw: bytes) -> Parts:
    """Takes a JPEG apart into segments; what follows the first start of scan is one part without a length."""
    parts: Parts = []
    position = 2
    while raw[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", raw, position + 2)
        parts.append(Part(raw[position : position + 2], raw[position + 4 : position + 2 + length]))
        position += 2 + length
    return [*parts, Part(b"", raw[position:])]


def join_jpeg(parts: Sequence[Part]) -> bytes:
    """Makes a JPEG of segments."""
    segments = [b"\xff\xd8"]
    for part in parts:
        length = len(part.payload) + 2 if part.length is None else part.length
        segments.append((part.kind + struct.pack(">H", length & 0xFFFF) if part.kind else b"") + part.payload)
    return b"".join(segments)


def split_webp(raw: bytes) -> Parts:
    """Takes a WebP apart into chunks."""
    parts: Parts = []
    position = 12
    while position < len(raw):
        (length,) = struct.unpack_from("<I", raw, position + 4)
        parts.append(Part(raw[position : position + 4], raw[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return parts


def join_webp(parts: Sequence[Part]) -> bytes:
    """Makes a WebP of chunks."""
    chunks: list[bytes] = []
    for part in parts:
        length = len(part.payload) if part.length is None else part.length
        chunks.append(part.kind + struct.pack("<I", length & 0xFFFFFFFF) + part.payload + bytes(len(part.payload) % 2))
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def split_gif(raw: bytes) -> Parts:
    """Takes a GIF apart into its header, blocks of data of up to 255 bytes, and what stands between them."""
    position = 13 + (3 << (raw[10] & 7) + 1 if raw[10] & 0x80 else 0)
    parts = [Part(b"", raw[:position])]
    while raw[position] != 0x3B:
        start, is_image = position, raw[position] == 0x2C
        has_palette = is_image and raw[position + 9] & 0x80
        position += (11 + (3 << (raw[position + 9] & 7) + 1 if has_palette else 0)) if is_image else 2
        parts.append(Part(b"", raw[start:position]))
        while raw[position]:
            parts.append(Part(b"data", raw[position + 1 : position + 1 + raw[position]]))
            position += 1 + raw[position]
        position += 1
        parts.append(Part(b"data", b""))
    return [*parts, Part(b"", raw[position:])]


def join_gif(parts: Sequence[Part]) -> bytes:
    """Makes a GIF; a part of data has a length, which is one byte."""
    blocks: list[bytes] = []
    for part in parts:
        length = len(part.payload) if part.length is None else part.length
        blocks.append((bytes([length & 0xFF]) if part.kind else b"") + part.payload)
    return b"".join(blocks)


def split_bmp(raw: bytes) -> Parts:
    """Takes a BMP apart into file header, picture header (its own length stands in it) and pixels."""
    return [Part(b"", raw[:14]), Part(b"header", raw[18:54]), Part(b"", raw[54:])]


def join_bmp(parts: Sequence[Part]) -> bytes:
    """Makes a BMP."""
    pieces: list[bytes] = []
    for part in parts:
        length = len(part.payload) + 4 if part.length is None else part.length
        pieces.append((struct.pack("<I", length & 0xFFFFFFFF) if part.kind else b"") + part.payload)
    return b"".join(pieces)


def _biggest(parts: Parts) -> int:
    return max(range(len(parts)), key=lambda index: len(parts[index].payload))


def _edit(parts: Parts, index: int, change: Callable[[Part], Part]) -> Parts:
    return [*parts[:index], change(parts[index]), *parts[index + 1 :]]


def _of_any(change: Callable[[Part, random.Random], Part]) -> Mutation:
    def mutate(parts: Parts, choice: random.Random) -> Parts:
        return _edit(parts, choice.randrange(len(parts)), lambda part: change(part, choice))

    return mutate


def _of_biggest(change: Callable[[Part, random.Random], Part]) -> Mutation:
    return lambda parts, choice: _edit(parts, _biggest(parts), lambda part: change(part, choice))


def _of_lengths(change: Callable[[int], int]) -> Mutation:
    def mutate(parts: Parts, choice: random.Random) -> Parts:
        index = choice.choice([index for index, part in enumerate(parts) if part.kind])
        return _edit(parts, index, lambda part: replace(part, length=change(len(part.payload))))

    return mutate


def _shuffled(parts: Parts, choice: random.Random) -> Parts:
    return choice.sample(parts, len(parts))


def _inserted(count: int, size: int) -> Mutation:
    def mutate(parts: Parts, choice: random.Random) -> Parts:
        kind = next(part.kind for part in reversed(parts) if part.kind)
        index = choice.randrange(len(parts) + 1)
        return [*parts[:index], *[Part(kind, choice.randbytes(size))] * count, *parts[index:]]

    return mutate


MUTATIONS: dict[str, Mutation] = {
    "first-lost": lambda parts, _: parts[1:],
    "last-lost": lambda parts, _: parts[:-1],
    "biggest-lost": lambda parts, _: [part for index, part in enumerate(parts) if index != _biggest(parts)],
    "any-lost": lambda parts, choice: _without(parts, choice.randrange(len(parts))),
    "first-twice": lambda parts, _: [parts[0], *parts],
    "last-twice": lambda parts, _: [*parts, parts[-1]],
    "biggest-twice": lambda parts, _: _with_twin(parts, _biggest(parts)),
    "all-twice": lambda parts, _: [*parts, *parts],
    "swapped": lambda parts, _: [parts[1], parts[0], *parts[2:]],
    "reversed": lambda parts, _: parts[::-1],
    "rotated": lambda parts, _: [*parts[1:], parts[0]],
    "shuffled": _shuffled,
    "biggest-zeroed": _of_biggest(lambda part, _: replace(part, payload=bytes(len(part.payload)))),
    "biggest-filled": _of_biggest(lambda part, _: replace(part, payload=b"\xff" * len(part.payload))),
    "biggest-random": _of_biggest(lambda part, choice: replace(part, payload=choice.randbytes(len(part.payload)))),
    "biggest-halved": _of_biggest(lambda part, _: replace(part, payload=part.payload[: len(part.payload) // 2])),
    "biggest-doubled": _of_biggest(lambda part, _: replace(part, payload=part.payload * 2)),
    "any-emptied": _of_any(lambda part, _: replace(part, payload=b"")),
    "any-renamed": _of_any(lambda part, choice: replace(part, kind=choice.randbytes(len(part.kind)))),
    "length-zero": _of_lengths(lambda length: 0),
    "length-one-less": _of_lengths(lambda length: length - 1),
    "length-one-more": _of_lengths(lambda length: length + 1),
    "length-most": _of_lengths(lambda length: -1),
    "a-thousand-more": _inserted(1000, 3),
    "a-long-one-more": _inserted(1, 60_000),
}
"""25 ways to break a file part by part; each is a function of the parts and of a generator."""


def _without(parts: Parts, index: int) -> Parts:
    return [*parts[:index], *parts[index + 1 :]]


def _with_twin(parts: Parts, index: int) -> Parts:
    return [*parts[: index + 1], *parts[index:]]
