"""A number for each address of the web, the same for all its spellings: what rows are told apart and named by.

Asks nothing and resolves nothing; what counts as another spelling is said in urls.py.
"""

import hashlib

from minimagen.sources.urls import canonical_url


def identity_of(url: str) -> int:
    """Returns 64 bits of the SHA-256 of an address in its canonical spelling."""
    return int.from_bytes(hashlib.sha256(canonical_url(url).encode("utf-8", "surrogatepass")).digest()[:8], "big")
