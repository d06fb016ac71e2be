"""Which addresses may be connected to: the public internet, and what the environment names besides.

Knows no address of the web: what is checked is the number that a socket is about to be connected to, after all names
are resolved, so no spelling and no resolver gets around it. Networks are those of the IANA special-purpose registries
(RFC 6890 and its updates); what an address embeds (IPv4-mapped, NAT64) is judged by the embedded address.
"""

import errno
import os
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from minimagen.config import ConfigError

VARIABLE = "MINIMAGEN_ALLOWED_ADDRESSES"
PORTS = frozenset({80, 443})

Allowed = frozenset[tuple[str, int]]
"""Pairs of address and port that are let through whatever they are."""

_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_IPV6 = IPv6Network(
    "2000::/3"
)  # nothing else is global unicast: not ::/8, fc00::/7, fe80::/10, fec0::/10, ff00::/8
_SPECIAL_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks and more
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, returned
        "3fff::/20",  # documentation
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")


class BlockedAddressError(OSError):
    """The address of a host is none that may be connected to; the message names it."""


def check_address(address: str, port: int, allowed: Allowed = frozenset()) -> None:
    """Returns if a socket may be connected to ``address``, a number as a resolver returns it.

    Raises:
        BlockedAddressError: it is not public, or the port is neither 80 nor 443.
    """
    number = _unwrapped(ip_address(address.partition("%")[0]))
    if (str(number), port) in allowed:
        return
    if not _is_public(number):
        raise BlockedAddressError(errno.EACCES, f"{address} is not a public address")
    if port not in PORTS:
        raise BlockedAddressError(errno.EACCES, f"port {port} is neither 80 nor 443")


def allowed_from_environment() -> Allowed:
    """Returns the pairs of MINIMAGEN_ALLOWED_ADDRESSES ("127.0.0.1:5000,[::1]:5001"): mirrors, simulators.

    Raises:
        ConfigError: an entry is not an address in numbers, a colon and a port.
    """
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",")]
    return frozenset(_pair(entry) for entry in entries if entry)


def _pair(entry: str) -> tuple[str, int]:
    host, _, port = entry.rpartition(":")
    try:
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return (str(_unwrapped(ip_address(bare))), int(port))
    except ValueError as error:
        raise ConfigError(
            f"environment: {VARIABLE} has {entry!r}, expected like 127.0.0.1:5000 or [::1]:5000"
        ) from error


def _unwrapped(number: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(number, IPv6Address) and (number in _MAPPED or number in _NAT64):
        return IPv4Address(int(number) & 0xFFFFFFFF)
    return number


def _is_public(number: IPv4Address | IPv6Address) -> bool:
    if isinstance(number, IPv4Address):
        return not any(number in network for network in _SPECIAL_IPV4)
    return number in _PUBLIC_IPV6 and not any(number in network for network in _SPECIAL_IPV6)
