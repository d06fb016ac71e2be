"""A loopback host of small JPEGs that is faster than any client: `python -m benchmarks.picture_server` tells its port.

/N.jpg is picture N: 64 px, 2 to 5 kB, with N in a comment, so that no two files are equal. Answers on sockets without
a framework, keeps connections open for those who want that, and ends with its standard input.
"""

import asyncio
import io
import sys

import numpy as np
from PIL import Image

SIDE = 64
NUM_PICTURES = 200
"""Distinct ones; the comment makes a file of each number."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"


def jpegs() -> list[bytes]:
    """Returns the distinct pictures, without their first two bytes."""
    generator = np.random.default_rng(0)
    files: list[bytes] = []
    for number in range(NUM_PICTURES):
        cells = 6 + number % 12  # more detail, more bytes
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95)
        files.append(stream.getvalue()[2:])
    return files


class Host(asyncio.Protocol):
    """One connection."""

    def __init__(self, files: list[bytes]) -> None:
        self._files, self._received = files, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every request that is whole."""
        assert self._transport is not None
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            request, self._received = self._received[:end], self._received[end + 4 :]
            is_last = b"connection: close" in request.lower()
            name = request.split(b" ", 2)[1].removeprefix(b"/").removesuffix(b".jpg")
            comment = b"\xff\xd8\xff\xfe" + (len(name) + 2).to_bytes(2, "big") + name
            body = comment + self._files[int(name) % NUM_PICTURES]
            self._transport.write(_HEAD % (len(body), b"close" if is_last else b"keep-alive") + body)
            if is_last:
                self._transport.close()


async def main() -> None:
    """Serves until standard input ends."""
    files, loop = jpegs(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Host(files), "127.0.0.1", 0, backlog=4096)
    sizes = sorted(len(file) for file in files)
    print(server.sockets[0].getsockname()[1], sizes[0], sizes[-1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
