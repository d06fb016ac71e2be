"""A simulated host of pictures: what it serves, and how it misbehaves, is said by the path, and by nothing else.

/img/ok/cat.png                 a picture (.jpg, .png, .webp, .gif), another one for each name
/img/same/7/cat.png             the picture of group 7, whatever the name
/img/status/404/cat.png         that status (with a body that is no picture)
/img/flaky/3/cat.png            three times 503, then the picture
/img/later/90/cat.png           429 with Retry-After: 90, always
/img/slow/0.5/cat.png           the picture after half a second
/img/redirect/2/cat.png         two redirects, then the picture
/img/loop/cat.png               redirects to itself
/img/away/cat.png               redirects to an address of a cloud's metadata service
/img/html/cat.png               an HTML page that calls itself a picture
/img/typed/cat.png              a picture that calls itself HTML
/img/cut/cat.png                the first half of the picture, with its own Content-Length
/img/noai/cat.png               the picture with X-Robots-Tag: noai
/img/reserved/cat.png           the picture with tdm-reservation: 1
/img/turned/cat.png             the picture, stored on its side with EXIF orientation 6
/img/tiny/cat.png, /img/flat/cat.png, /img/long/cat.png     against the rules of size, content and aspect
"""

import functools
import hashlib
import io
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from tests.simulators.server import Request, Response

ENCODINGS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}


@dataclass(slots=True)
class PictureHost:
    """The host; put it into ``running_site``."""

    prefixes: Sequence[str] = ("/img/",)
    num_requests: Counter[str] = field(default_factory=Counter)
    """Of each path, redirects included."""
    closes_after: int | None = None
    """From so many requests on it wants to be left alone for hours; None is never."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        with self._lock:
            self.num_requests[request.path] += 1
            nth, num_all = self.num_requests[request.path], self.num_requests.total()
        if self.closes_after is not None and num_all > self.closes_after:
            return Response(429, b"closed", {"Retry-After": "9999"})
        _, _, kind, *rest = request.path.split("/")
        name = rest[-1]
        match kind, rest:
            case "status", [status, _]:
                return Response(int(status), b"no picture here", {"Content-Type": "text/plain"})
            case "flaky", [num_failures, _] if nth <= int(num_failures):
                return Response(503, b"try again")
            case "later", [wait_s, _]:
                return Response(429, b"too many requests", {"Retry-After": wait_s})
            case "redirect", [num_hops, _] if int(num_hops) > 0:
                return Response(302, b"", {"Location": f"/img/redirect/{int(num_hops) - 1}/{name}"})
            case "loop", _:
                return Response(302, b"", {"Location": request.path})
            case "away", _:
                return Response(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"})
            case "slow", [wait_s, _]:
                time.sleep(float(wait_s))
        return _response_of(kind, "/".join(rest[:-1]) if kind == "same" else name, name)


def _response_of(kind: str, subject: str, name: str) -> Response:
    suffix = name.rpartition(".")[2]
    headers = {"Content-Type": TYPES[suffix]}
    if kind == "html":
        return Response(200, b"<!DOCTYPE html><html><body>not found</body></html>", headers)
    content = picture_file(kind, subject, suffix)
    if kind == "cut":
        return Response(200, content[: len(content) // 2], headers)
    if kind == "typed":
        return Response(200, content, {"Content-Type": "text/html"})
    if kind == "noai":
        return Response(200, content, headers | {"X-Robots-Tag": "noai"})
    if kind == "reserved":
        return Response(200, content, headers | {"tdm-reservation": "1"})
    return Response(200, content, headers)


def picture_pixels(kind: str, subject: str) -> np.ndarray:
    """Returns the picture as it is shown, (height, width, 3): coarse blocks of colour, a function of its name."""
    seed = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    if kind == "flat":
        return np.full((32, 32, 3), 200, np.uint8)
    width, height = {"tiny": (1, 1), "long": (400, 10)}.get(kind, (int(generator.integers(24, 49)), 32))
    blocks = generator.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]


@functools.lru_cache(5000)
def picture_file(kind: str, subject: str, suffix: str) -> bytes:
    """Returns the file that is served for a picture."""
    picture = Image.fromarray(picture_pixels(kind, subject))
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    stream = io.BytesIO()
    picture.save(stream, ENCODINGS[suffix], exif=exif)
    return stream.getvalue()
