"""A simulated Conceptual Captions: the hub's Parquet files, the original TSV addresses, and the web with its rot.

Rows, pictures and what becomes of them are pure functions of (seed, list, number). A caption names what its picture
shows, so a small cascade can learn from it. The lists have the real ones' traps: opposite column orders, no head,
quotes, "NA" and "null", letters beyond ASCII, addresses that come twice, and (TSV only) lines that are none.
"""

import hashlib
import io
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from tests.simulators.coloured_shapes import shape_caption, shape_picture
from tests.simulators.server import Request, Response

DATASET = "google-research-datasets/conceptual_captions"
PATHS = {
    "cc3m_train": "/gcc-data/Train/GCC-training.tsv",
    "cc3m_validation": "/gcc-data/Validation/GCC-1.1.0-Validation.tsv",
    "cc12m_train": "/conceptual_12m/cc12m.tsv",
}
FATES = {  # in per cent; the rest is served. 35 are gone, 5 have opted out.
    "404": 12,
    "410": 3,
    "403": 8,
    "dead": 5,
    "slow": 1,
    "html": 3,
    "truncated": 3,
    "noai": 2,
    "tdm": 1,
    "robots": 2,
}
REASONS = {
    "404": "http_404",
    "410": "http_410",
    "403": "http_403",
    "html": "not_an_image",
    "truncated": "undecodable",
    "noai": "opted_out",
    "tdm": "opted_out",
    "robots": "robots",
}
"""Why a row with this fate is rejected; of "dead" and "slow" that is a matter of the machine and its limits."""
_ODD_CAPTIONS = ('"quoted" at the beginning', "NA", "null", 'an open " quote', "caf\u00e9 \u4e2d\u6587 \U0001f600")


@dataclass(frozen=True, slots=True)
class Alt:
    """One row of a list."""

    caption: str
    path: str
    """Of the picture; for a dead host beside its address."""
    fate: str
    """One of FATES, or "ok"."""


class ConceptualCaptions:
    """The service; several lists, which all show the same world."""

    prefixes: Sequence[str] = (
        f"/api/datasets/{DATASET}",
        f"/datasets/{DATASET}",
        "/cc-cdn/",
        "/cc-web/",
        "/robots.txt",
        *PATHS.values(),
    )

    def __init__(
        self,
        *,
        num_rows: dict[str, int] | None = None,
        seed: int = 0,
        dead_base: str = "http://127.0.0.1:9",
        slow_s: float = 2.0,
        num_cuts: int = 1,
        is_google_closed: bool = False,
    ) -> None:
        """Prepares the lists.

        Args:
            num_rows: of each list in PATHS.
            dead_base: where the dead hosts' addresses begin: nothing listens there.
            slow_s: before a slow host answers.
            num_cuts: downloads of a list or a Parquet file that break off half-way.
            is_google_closed: the original addresses answer 403, as they do since March 2026.
        """
        self.num_rows = {"cc3m_train": 400, "cc3m_validation": 60, "cc12m_train": 100} | (num_rows or {})
        self.seed, self.dead_base, self.slow_s, self.is_google_closed = seed, dead_base, slow_s, is_google_closed
        self.revision = 0
        """Raised by a test that publishes anew; the commit follows."""
        self.flips_a_bit = False
        """Of every Parquet file, after its hash was told."""
        self._cuts, self._lock = num_cuts, threading.Lock()

    @property
    def commit(self) -> str:
        """The commit that the hub's main branch is at."""
        return hashlib.sha1(f"{self.seed} {self.revision} {self.num_rows}".encode()).hexdigest()

    def alt(self, name: str, number: int) -> Alt:
        """Returns row ``number`` of the list ``name``."""
        if number % 25 == 24:  # an address that comes twice
            return Alt(f"{shape_caption(self._rng(name, number))} again", self.alt(name, number - 7).path, "repeat")
        rng = self._rng(name, number)
        fate = rng.choices([*FATES, "ok"], [*FATES.values(), 100 - sum(FATES.values())])[0]
        folder = "private" if fate == "robots" else "open"
        caption = f"{shape_caption(rng)} ." if name.startswith("cc3m") else shape_caption(rng)
        if number % 40 == 11:
            caption = _ODD_CAPTIONS[number // 40 % len(_ODD_CAPTIONS)]
        return Alt(caption, f"/cc-web/{folder}/{name}/{number}.jpg", fate)

    def url(self, name: str, number: int, base: str) -> str:
        """Returns the address in row ``number``."""
        alt = self.alt(name, number)
        original = self.alt(name, number - 7) if alt.fate == "repeat" else alt
        return (self.dead_base if original.fate == "dead" else base) + alt.path

    def tsv(self, name: str, base: str) -> bytes:
        """Returns a list as it stood at its original address: CC3M has captions first, CC12M addresses."""
        lines: list[bytes] = []
        for number in range(self.num_rows[name]):
            cells = [self.alt(name, number).caption.encode(), self.url(name, number, base).encode()]
            line = b"\t".join(cells if name.startswith("cc3m") else reversed(cells))
            lines.append(
                {300: b"caf\xe9\t" + line, 301: line + b"\tmore", 302: b"latin \xe9\thttp://a/"}.get(number, line)
            )
        return b"\n".join(lines) + b"\n"

    def parquet(self, split: str, part: int, base: str) -> bytes:
        """Returns one of the two Parquet files of a split of CC3M."""
        return _parquet(self, split, part, base, self.revision, self.num_rows[f"cc3m_{split}"])

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        path = request.path
        if path == "/robots.txt":
            return Response(200, b"User-agent: *\nDisallow: /cc-web/private/\n", {"Content-Type": "text/plain"})
        if path.startswith("/cc-web/"):
            return self._answer_picture(path)
        for name, address in PATHS.items():
            if path == address:
                return (
                    Response(403, b"<html>closed</html>")
                    if self.is_google_closed
                    else self._file(self.tsv(name, request.base), request)
                )
        return self._answer_hub(request)

    def _answer_hub(self, request: Request) -> Response:
        files = {
            f"unlabeled/{split}-{part:05d}-of-00002.parquet": (split, part)
            for split in ("train", "validation")
            for part in (0, 1)
        }
        rest = request.path.removeprefix("/api").removeprefix(f"/datasets/{DATASET}/")
        if request.path.startswith("/cc-cdn/"):
            split, part = request.path.removeprefix("/cc-cdn/").split("/")
            content = self.parquet(split, int(part), request.base)
            return self._file(
                content[:99] + bytes([content[99] ^ 1]) + content[100:] if self.flips_a_bit else content, request
            )
        if rest == "revision/main":
            return _json({"id": DATASET, "sha": self.commit, "private": False, "gated": False})
        if rest == f"tree/{self.commit}/unlabeled":
            return _json([_entry(path, self.parquet(*parts, request.base)) for path, parts in files.items()])
        name = rest.removeprefix(f"resolve/{self.commit}/")
        if name in files:
            split, part = files[name]
            location = f"{request.base}/cc-cdn/{split}/{part}"
            return Response(302, b"", {"Location": location, "X-Repo-Commit": self.commit})
        return _json({"error": "Entry not found"}, 404)

    def _file(self, content: bytes, request: Request) -> Response:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        asked = request.headers.get("range", "")
        if asked.startswith("bytes=") and request.headers.get("if-range", etag) == etag:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                return Response(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return Response(206, content[start:], headers)
        with self._lock:
            is_cut = self._cuts > 0 and request.method == "GET"
            self._cuts -= is_cut
        if is_cut:
            return Response(200, content[: len(content) // 2], headers | _torn(content))
        return Response(200, content, headers)

    def _answer_picture(self, path: str) -> Response:
        name, _, number = path.removesuffix(".jpg").removeprefix("/cc-web/").partition("/")[2].partition("/")
        if name not in PATHS or not number.isdecimal():
            return Response(404)
        alt = self.alt(name, int(number))
        if alt.fate in ("404", "410", "403"):
            return Response(int(alt.fate), b"gone")
        headers = {"Content-Type": "image/jpeg"}
        if alt.fate == "html":
            return Response(200, b"<!DOCTYPE html><html><body>This picture has moved.</body></html>", headers)
        if alt.fate == "slow":
            time.sleep(self.slow_s)
        headers |= {"noai": {"X-Robots-Tag": "noai, noimageai"}, "tdm": {"tdm-reservation": "1"}}.get(alt.fate, {})
        content = shape_picture(alt.caption, self._rng(name, int(number)))
        return Response(200, content[: len(content) // 2] if alt.fate == "truncated" else content, headers)

    def _rng(self, name: str, number: int) -> random.Random:
        return random.Random(f"{self.seed} {name} {number}")


@cache
def _parquet(world: ConceptualCaptions, split: str, part: int, base: str, revision: int, num_rows: int) -> bytes:
    name = f"cc3m_{split}"
    numbers = range(num_rows // 2) if part == 0 else range(num_rows // 2, num_rows)
    columns = {
        "image_url": [world.url(name, number, base) for number in numbers],
        "caption": [world.alt(name, number).caption for number in numbers],
    }
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, row_group_size=64)
    return stream.getvalue()


def _entry(path: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    lfs = {"oid": digest, "size": len(content), "pointerSize": 134}
    return {"type": "file", "oid": digest[:40], "size": len(content), "lfs": lfs, "path": path}


def _json(document: object, status: int = 200) -> Response:
    return Response(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _torn(content: bytes) -> dict[str, str]:
    """Headers that promise the whole file, and a connection that is closed after what there is of it."""
    return {"Content-Length": str(len(content)), "Connection": "close"}
