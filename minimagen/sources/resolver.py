"""Names of hosts to addresses, by the system, many at a time.

asyncio asks in the few threads that are there for everything; a list of the web has names that take long to fail.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

NUM_THREADS = 32


class ThreadResolver(AbstractResolver):
    """Asks ``getaddrinfo`` in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the addresses of ``host``.

        Raises:
            OSError: there are none, or nobody could say.
        """
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        infos = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [
            ResolveResult(
                hostname=host,
                host=str(sockaddr[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, sockaddr in infos
        ]

    async def close(self) -> None:
        """Forgets what was asked and not yet answered."""
        self._threads.shutdown(wait=False, cancel_futures=True)
