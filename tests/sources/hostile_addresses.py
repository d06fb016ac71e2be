"""Spellings of addresses that nobody may be led to, generated: of loopback, private networks and cloud metadata."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

_TARGETS = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "0.0.0.0", "100.64.0.1")
_NATIVE = ("::1", "::", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "5f00::1")


def hostile_urls(port: int) -> list[str]:
    """Returns addresses of pictures: every spelling once, in the order of generation.

    Args:
        port: of a listener that is not to see anybody; 80 and 443 are tried as well.
    """
    hosts = [host for target in _TARGETS for host in _spellings(IPv4Address(target))]
    hosts += [f"[{host}]" for target in _TARGETS for host in _embedded(IPv4Address(target))]
    hosts += [f"[{host}]" for host in _NATIVE] + [f"[{IPv6Address(host).exploded}]" for host in _NATIVE[:4]]
    hosts += ["[fe80::1%25lo]", "[::1%25lo]", "localhost", "LOCALHOST", "localhost.", "localhost:80", "localhost:443"]
    hosts += [f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"[::ffff:127.0.0.1]:{port}"]
    urls = [f"http://{host}/x.jpg" for host in hosts]
    urls += [f"https://{host}/x.jpg" for host in ("127.0.0.1", "[::1]", "0x7f.1", "localhost")]
    urls += list(_misleading(port))
    return list(dict.fromkeys(urls))


def _spellings(target: IPv4Address) -> Iterator[str]:
    """Yields what ``inet_aton`` and browsers take for the address."""
    number, parts = int(target), target.packed
    dotted = str(target)
    yield from (dotted, f"{dotted}.", f"{dotted}:80", f"{dotted}:443")
    yield from (str(number), hex(number), f"0{number:o}", f"0x{number:08X}", f"{number}.")
    yield ".".join(hex(part) for part in parts)
    yield ".".join(f"0{part:o}" for part in parts)
    yield ".".join(f"{part:03d}" for part in parts)
    yield f"{parts[0]}.{int.from_bytes(parts[1:], 'big')}"
    yield f"{parts[0]}.{parts[1]}.{int.from_bytes(parts[2:], 'big')}"
    yield f"0x{parts[0]:x}.{int.from_bytes(parts[1:], 'big')}"
    yield f"0{parts[0]:o}.{parts[1]}.0x{parts[2]:x}.{parts[3]}"
    yield dotted.replace(".", "\u3002")
    yield dotted.replace(".", "\uff0e")
    yield "".join(chr(0xFF10 + int(one)) if one.isdigit() else one for one in dotted)
    yield "".join(chr(0x2460 + int(one) - 1) if one in "123456789" else one for one in dotted)
    yield dotted.replace(".", "%2e")


def _embedded(target: IPv4Address) -> Iterator[str]:
    """Yields IPv6 addresses that lead to the address through a tunnel, a translator or a compatibility layer."""
    number = int(target)
    high, low = number >> 16, number & 0xFFFF
    yield from (f"::ffff:{target}", f"::ffff:{high:x}:{low:x}", f"0:0:0:0:0:FFFF:{high:x}:{low:x}")
    yield from (f"::{target}", f"::ffff:0:{target}")
    yield from (f"64:ff9b::{target}", f"64:ff9b:1::{target}")
    yield f"2002:{high:x}:{low:x}::1"
    yield f"2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"


def _misleading(port: int) -> Iterator[str]:
    """Yields addresses that look like another host's, or like another scheme's."""
    for inner in ("127.0.0.1", "localhost", "[::1]"):
        yield f"http://host.example@{inner}/x.jpg"
        yield f"http://host.example:80@{inner}:{port}/x.jpg"
        yield f"http://{inner}#@host.example/x.jpg"
        yield f"http://{inner}\\@host.example/x.jpg"
        yield f"http://host.example\\@{inner}/x.jpg"
        yield f"http:{inner}/x.jpg"
        yield f"http:/{inner}/x.jpg"
        yield f"http:///{inner}/x.jpg"
        yield f"//{inner}/x.jpg"
        yield f"ftp://{inner}/x.jpg"
        yield f"gopher://{inner}:{port}/_x"
        yield f"ws://{inner}:{port}/x"
        yield f"javascript://{inner}/x"
        yield f"http://{inner} /x.jpg"
        yield f"http://{inner}\t/x.jpg"
        yield f"http://{inner}\r\nHost: host.example/x.jpg"
        yield f"http://{inner}\x00.host.example/x.jpg"
        yield f"http://{inner}:99999/x.jpg"
        yield f"http://{inner}:0/x.jpg"
        yield f"http://{inner}:{port}0000000/x.jpg"
    yield from ("file:///etc/passwd", "file://localhost/etc/passwd", "/etc/passwd", "data:image/png;base64,AAAA", "")
