"""``requests`` with a checked address for every connection. Knows no service.

A name is resolved once for a connection, each of its addresses is checked, and the connection is made to the checked
number, so a name that changes its address gains nothing.
"""

import contextlib
import socket
from ipaddress import ip_address

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from minimagen.sources.addresses import BlockedAddressError, allowed_from_environment, check_address
from minimagen.sources.cut_off import watch


class _CheckedConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        watch(self)
        try:
            numbers = _numbers_of(self._dns_host)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        allowed, problem = allowed_from_environment(), OSError("no address")
        for number in numbers:
            try:
                check_address(number, self.port, allowed)
                return create_connection((number, self.port), self.timeout, socket_options=self.socket_options)
            except TimeoutError as error:
                raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from error
            except OSError as error:
                problem = error
        if isinstance(problem, BlockedAddressError):
            raise problem
        raise NewConnectionError(self, str(problem)) from problem


def _numbers_of(host: str) -> list[str]:
    """Returns the addresses of a host, which may be one itself."""
    with contextlib.suppress(ValueError):
        return [str(ip_address(host))]
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in infos))


class _CheckedTlsConnection(_CheckedConnection, HTTPSConnection):
    pass


class _CheckedPool(HTTPConnectionPool):
    ConnectionCls = _CheckedConnection  # pyright: ignore[reportAssignmentType]


class _CheckedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTlsConnection  # pyright: ignore[reportAssignmentType]


class SafeAdapter(HTTPAdapter):
    """Mounted in a session, it makes connections to checked addresses only."""

    def init_poolmanager(self, *arguments: object, **keywords: object) -> None:
        """Makes the pools that ``requests`` takes connections from; no proxy is among them."""
        super().init_poolmanager(*arguments, **keywords)  # pyright: ignore[reportArgumentType]
        self.poolmanager.pool_classes_by_scheme = {"http": _CheckedPool, "https": _CheckedTlsPool}
