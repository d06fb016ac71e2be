"""Addresses of the web: which ones are asked at all, and when two of them are the same.

Resolves no name: what a name stands for is checked when a socket is connected (addresses.py).
"""

import re

from yarl import URL

from minimagen.rows import Rejection
from minimagen.sources.addresses import PORTS, Allowed

MAX_CHARACTERS = 4096
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_WITHOUT_PATH = re.compile(r"[^/]*//[^/?#]*(?:[?#].*)?", re.DOTALL)
_NUMBER = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)", re.DOTALL)
"""What ends in a number; such a host is an address, or meant to be one."""
_USUAL_NUMBER = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

_PLAIN_LABEL = r"(?![a-z0-9-]{64})[a-z0-9]+(?:-+[a-z0-9]+)*"
_PLAIN_NAME = rf"(?=[^/:]{{1,253}}[/:])(?:{_PLAIN_LABEL}\.)+[a-z]{{2,18}}"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN_PORT = "(?::(?!80/|443/)(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
_PLAIN = re.compile(
    rf"https?://(?:{_PLAIN_NAME}|{_BYTE}(?:\.{_BYTE}){{3}}){_PLAIN_PORT}"
    r"/[A-Za-z0-9._~!$&'()*,;=@/-]*(?:\?[A-Za-z0-9._~=&/-]+)?"
)


def check_url(text: str, allowed: Allowed = frozenset()) -> URL | Rejection:
    """Returns the address as it is asked for, or why it is not: bad_url, blocked_scheme or blocked_address.

    Refused are schemes but http and https, ports but 80 and 443, credentials, and hosts that are spelled as a number in
    any way but the usual one ("0x7f.1", "2130706433").

    Args:
        allowed: ports in it are let through, whatever the host.
    """
    url = _parse(text)
    if isinstance(url, URL) and url.port not in PORTS and url.port not in {port for _, port in allowed}:
        return Rejection("blocked_address", f"port {url.port} is neither 80 nor 443")
    return url


def redirected(url: URL, location: str, allowed: Allowed = frozenset()) -> URL | Rejection:
    """Returns where a redirect of ``url`` leads, or why nobody goes there: bad_redirect, or as ``check_url`` says.

    Args:
        location: the header Location; relative to ``url`` if it is not absolute.
    """
    if not location:
        return Rejection("bad_redirect", "a redirect without Location")
    try:
        target = str(url.join(URL(location)))
    except (ValueError, IndexError) as error:
        return Rejection("bad_redirect", f"Location: {error}")
    return check_url(target, allowed)


def canonical_url(text: str) -> str:
    """Returns one spelling for all spellings of an address: case, default port, percent-encoding, dots, fragment.

    What is no address of a host is returned as it is.
    """
    if is_canonical(text):
        return text
    url = _parse(text)
    return text if isinstance(url, Rejection) else str(url)


def is_canonical(text: str) -> bool:
    """Tells cheaply what most addresses are: a host in lower case, no usual port, no escape, no dot segment."""
    return len(text) <= MAX_CHARACTERS and _PLAIN.fullmatch(text) is not None and "/." not in text


def host_of(url: URL) -> str:
    """Returns "host:port", what limits are counted by."""
    return f"{url.raw_host}:{url.port}"


def _parse(text: str) -> URL | Rejection:
    return URL(text, encoded=True) if is_canonical(text) else _parse_any(text)


def _parse_any(text: str) -> URL | Rejection:
    if len(text) > MAX_CHARACTERS:
        return Rejection("bad_url", f"{len(text)} characters, at most {MAX_CHARACTERS} expected")
    if _FORBIDDEN.search(text):
        return Rejection("bad_url", "a space, a control character or a backslash in it")
    try:
        url = URL(text).with_fragment(None)
        scheme, host, port = url.scheme, url.raw_host, url.port
    except (ValueError, TypeError, IndexError) as error:  # yarl indexes into what is not there in "http://[::1]@"
        return Rejection("bad_url", str(error))
    if scheme not in ("http", "https"):
        return Rejection("blocked_scheme", f"scheme {scheme[:20]!r}, http or https expected")
    if not host:
        return Rejection("bad_url", "no host")
    if url.raw_user is not None or url.raw_password is not None:
        return Rejection("bad_url", "credentials in it")
    if not port:
        return Rejection("bad_url", "port 0")
    if _WITHOUT_PATH.fullmatch(text):
        url = url.with_path("/", encoded=True, keep_query=True)
    if url.explicit_port == (443 if scheme == "https" else 80):
        url = url.with_port(None)
    return _check_host(url, host.lower())


def _check_host(url: URL, host: str) -> URL | Rejection:
    if ":" in host:
        return url
    bare = host.removesuffix(".")
    if _NUMBER.fullmatch(bare):
        usual = _USUAL_NUMBER.fullmatch(bare)
        if usual is None or any(int(part) > 255 for part in usual.groups()):
            return Rejection("blocked_address", "a number as the name of a host")
    if len(bare) > 253 or not _NAME.fullmatch(bare):
        return Rejection("bad_url", "not the name of a host")
    return url if bare == url.raw_host else url.with_host(bare)
