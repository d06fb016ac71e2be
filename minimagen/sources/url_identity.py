"""A number for each address of the web, the same for all its spellings: what rows are told apart and named by.

Asks nothing and resolves nothing; what counts as another spelling is said in urls.py.
"""

import hashlib
import re

from minimagen.sources.urls import canonical_url

_HOST = r"(?:[a-z0-9]+(?:-+[a-z0-9]+)*\.)+[a-z]{2,18}"
_PLAIN = re.compile(rf"https?://{_HOST}/[A-Za-z0-9._~!$&'()*,;=@/-]*(?:\?[A-Za-z0-9._~=&/-]+)?")


def identity_of(url: str) -> int:
    """Returns 64 bits of the SHA-256 of an address in its canonical spelling."""
    canonical = url if is_canonical(url) else canonical_url(url)
    return int.from_bytes(hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def is_canonical(url: str) -> bool:
    """Tells cheaply what most addresses are: a name in lower case, no port, no escape, no dot segment."""
    return _PLAIN.fullmatch(url) is not None and "/." not in url
